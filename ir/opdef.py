"""How an operator is declared: once, as a row that everything else is derived from.

Verifier, printer, parser, documentation table and builder read the `OpDef`.
A result-type rule gets a `Signature` and returns the result types, or raises
`TypeRuleError` with a sentence for the user.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .axes import Axes
from .elementwise import Step
from .literals import written
from .types import DType, Quant, TensorType

REQUIRED = object()


class TypeRuleError(ValueError):
    """Operands or attributes that an operator does not accept."""


def _ints(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(v, int) and not isinstance(v, bool) for v in value)


def _floats(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(v, float) for v in value)


KINDS: dict[str, Callable[[Any], bool]] = {
    "int": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "float": lambda v: isinstance(v, float),
    "bool": lambda v: isinstance(v, bool),
    "str": lambda v: isinstance(v, str),
    "ints": _ints,
    "floats": _floats,
    "strs": lambda v: isinstance(v, tuple) and all(isinstance(s, str) for s in v),
    "array": lambda v: isinstance(v, np.ndarray),
    "dtype": lambda v: isinstance(v, DType),
    "epilogue": lambda v: isinstance(v, tuple) and all(isinstance(s, Step) for s in v),
}


@dataclass(frozen=True)
class Attribute:
    """A named attribute, its kind (a key of `KINDS`) and default."""

    name: str
    kind: str
    default: Any = REQUIRED
    doc: str = ""


@dataclass(frozen=True)
class Signature:
    """What a result-type rule sees: operand types and attributes with defaults filled in."""

    types: tuple[TensorType, ...]
    attributes: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.attributes[name]


Types = Sequence[TensorType]
TypeRule = Callable[[Signature], Types]
WorkRule = Callable[[Types, TensorType], int]
"""Multiply-accumulates, from the types of the operands and of the result."""


def no_macs(_types: Types, _result: TensorType) -> int:
    return 0


@dataclass(frozen=True)
class OpDef:
    """One operator. The last of `operands` is variadic where its name ends in `*`."""

    name: str
    doc: str
    operands: tuple[str, ...]
    infer: TypeRule = field(repr=False)
    axes: Axes = field(repr=False, kw_only=True)  # how its axes depend on each other: see `ir.axes`
    attributes: tuple[Attribute, ...] = ()
    macs: WorkRule = field(default=no_macs, repr=False)
    # Elements are moved or selected, so that they keep their quantization: always or where attributes say so.
    moves: bool | Callable[[Mapping[str, Any]], bool] = False
    # From this one on, each element of an operand is needed for the result's element at the same place
    # alone, so that a kernel may write its result over them; none where it is None.
    elementwise_from: int | None = None

    def elementwise(self, operands: int) -> range:
        """Which of an operator's operands are read in step with the result."""
        return range(operands if self.elementwise_from is None else self.elementwise_from, operands)

    def attribute(self, name: str) -> Attribute | None:
        return next((a for a in self.attributes if a.name == name), None)

    def default(self, name: str) -> Any:
        """The declared default; KeyError for an attribute not declared or without default."""
        found = self.attribute(name)
        if found is None or found.default is REQUIRED:
            raise KeyError(f"{self.name} has no attribute '{name}'")
        return found.default

    def check_arity(self, count: int) -> None:
        """Raises TypeRuleError where `count` operands are too few or too many."""
        variadic = bool(self.operands) and self.operands[-1].endswith("*")
        fixed = len(self.operands) - variadic
        if count < fixed or (count > fixed and not variadic):
            raise TypeRuleError(
                f"{self.name} takes {'at least ' if variadic else ''}{fixed} operands, got {count}"
            )

    def complete(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Every declared attribute, defaults filled in; TypeRuleError: unknown, missing or ill-typed."""
        unknown = set(given) - {a.name for a in self.attributes} - COMMON_ATTRIBUTES.keys()
        if unknown:
            raise TypeRuleError(f"{self.name} has no attribute {', '.join(sorted(unknown))}")
        for name, kind in COMMON_ATTRIBUTES.items():
            if name in given and not KINDS[kind](given[name]):
                raise TypeRuleError(f"{self.name}: attribute '{name}' must be of kind {kind}")
        return {a.name: self._checked(a, given.get(a.name, a.default)) for a in self.attributes}

    def _checked(self, attribute: Attribute, value: Any) -> Any:
        if value is REQUIRED:
            raise TypeRuleError(f"{self.name} needs attribute '{attribute.name}'")
        if not KINDS[attribute.kind](value):
            raise TypeRuleError(
                f"{self.name}: attribute '{attribute.name}' must be of kind {attribute.kind}, "
                f"got {written(value)}"
            )
        return value

    def result_types(self, types: Sequence[TensorType], given: Mapping[str, Any]) -> list[TensorType]:
        """The result types of the operator on operands of `types`; TypeRuleError where it does not apply."""
        self.check_arity(len(types))
        try:
            found = list(self.infer(Signature(tuple(types), self.complete(given))))
        except ValueError as error:  # a type that refuses itself
            raise TypeRuleError(str(error)) from None
        if not self.is_move(given):
            return found
        return [replace(t, quant=_shared_quant(types, t)) for t in found]

    def is_move(self, given: Mapping[str, Any]) -> bool:
        """Whether the operator with these attributes only moves or selects elements."""
        return self.moves(self.complete(given)) if callable(self.moves) else self.moves


def _shared_quant(types: Sequence[TensorType], result: TensorType) -> Quant | None:
    """The quantization that all operands of the result's element type share, one scale for each tensor."""
    found = {t.quant for t in types if t.dtype == result.dtype}
    quant = found.pop() if len(found) == 1 else None
    return quant if quant is not None and quant.axis is None else None


# Decisions of passes, allowed on every operator: see the passes `select` and `memory`.
SETTLED_ATTRIBUTES: dict[str, str] = {
    "primitive": "str",
    "operand_layouts": "strs",
    "keeps": "ints",
    "workspace": "int",
    "workspace_offset": "int",
    "streamed": "int",
    "streamed_offset": "int",
    "offset": "ints",
}
PRUNED = "pruned"
"""Indices of the channels of an operator's result that go: see `secateur.passes.prune.decisions`."""

BYPASSED = "bypassed"
"""The operand of an addition that goes, with all that only it needs: the sum is its other operand."""

DECISIONS: dict[str, str] = {PRUNED: "ints", BYPASSED: "int"}
"""What pruning decides; the pass `remove` uses it up."""

COMMON_ATTRIBUTES: dict[str, str] = {**DECISIONS, **SETTLED_ATTRIBUTES}
