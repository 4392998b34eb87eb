"""Operators on floats with constant weights: `nn.conv`, `nn.conv_transpose`, `nn.matmul` and their epilogues.

A first epilogue step that adds a constant per filter is the bias, packed with the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from secateur.ir.elementwise import Epilogue
from secateur.ir.graph import Operator, Value
from secateur.ir.support.reach import reach_of
from secateur.ir.types import ROW_MAJOR, DType, Layout, TensorType

from ...targets.target import Target
from ...weights.origin import Origin
from ..operator import (
    Argument,
    Array,
    Combination,
    Constant,
    Cost,
    Operand,
    constant_of,
    to_layout,
    workspace_limit,
)
from ..specs import ConvSpec, DenseSpec, Extra, TransposedSpec, pair
from .adapter import Adapter, AdjustableAdapter, Spec, window


@dataclass(frozen=True, eq=False)
class _Tail:
    """The epilogue of an operator split into its bias, one for all filters or for each, and the rest."""

    bias: Array | None
    epilogue: Epilogue
    extras: tuple[int, ...]  # operand indices
    kinds: tuple[Extra, ...]


@runtime_checkable
class Noisy(Protocol):
    """A convolution of specifications whose sums are not the direct ones."""

    def noise(self, spec: Any, target: Target) -> float:
        """As `Primitive.noise`."""


@runtime_checkable
class FromFilters(Protocol):
    """A convolution of specifications whose weights can be made of the filters when a model is loaded."""

    def origin(self, spec: Any, target: Target, weights: Array) -> Origin:
        """Of the weights, wherever among the kernel's arguments they are."""


def extra_kind(extra: TensorType, result: TensorType) -> str | None:
    """How an epilogue operand meets the result: "full", "channel", "scalar", or None."""
    if extra.shape == result.shape:
        return "full"
    if extra.elements == 1:
        return "scalar"
    axis = 1 if result.rank > 2 else result.rank - 1
    aligned = (1,) * (result.rank - extra.rank) + extra.shape
    wanted = tuple(d if i == axis else 1 for i, d in enumerate(result.shape))
    return "channel" if aligned == wanted else None


def _tail(op: Operator) -> _Tail | None:
    """None where an operand of the epilogue has a shape no kernel takes."""
    epilogue, extras = op["epilogue"], list(range(2, len(op.operands)))
    kinds: list[Extra | None] = [extra_kind(op.operands[i].type, op.result.type) for i in extras]
    if op.get("reach"):
        kinds[-1] = reach_of(op["reach"], op.operands[-1].type.shape)
    bias = constant_of(op.operands[2]) if extras and epilogue[0].op == "add" else None
    if bias is not None and kinds[0] in ("channel", "scalar"):
        epilogue, extras, kinds = epilogue[1:], extras[1:], kinds[1:]
    else:
        bias = None
    known = [k for k in kinds if k is not None]
    return _Tail(bias, epilogue, tuple(extras), tuple(known)) if len(known) == len(kinds) else None


def _of_each_filter(bias: Array | None, op: Operator) -> Array | None:
    """A bias as a vector."""
    if bias is None:
        return None
    filters = op.result.type.shape[1 if op.result.type.rank > 2 else -1]
    return np.ascontiguousarray(np.broadcast_to(bias.reshape(-1), (filters,)))


def _refusal(op: Operator, ranks: tuple[int, ...], dtype: DType) -> str | None:
    x, w = (v.type for v in op.operands[:2])
    if x.rank not in ranks or x.dtype != dtype:
        wanted = " or ".join(map(str, ranks))
        return f"needs a {dtype.numpy.name} input of rank {wanted}, has {x.dtype.value} of rank {x.rank}"
    if dtype == DType.F16 and op["sums"] != dtype:
        return f"sums in {op['sums'].value}"
    if constant_of(op.operands[1]) is None:
        return "needs constant weights"
    if op.get("reach") and constant_of(op.operands[-1]) is not None:
        return "a constant that reaches some channels"
    if _tail(op) is None:
        return "an operand of the epilogue is neither full, per channel nor scalar"
    return "empty tensors" if not op.result.type.elements or not x.elements or not w.elements else None


class _OfFloats(Adapter[Spec]):
    """Of floats of one type, with constant weights and an epilogue."""

    ranks: tuple[int, ...] = (3, 4)
    dtype = DType.F32

    def refusal(self, op: Operator) -> str | None:
        return _refusal(op, self.ranks, self.dtype)

    def _read(self, op: Operator, read: dict[type, Any]) -> Spec | None:
        """What it depends on are the operator and the class."""
        if type(self) not in read:
            read[type(self)] = super()._read(op, read)
        found: Spec | None = read[type(self)]
        return found

    def combination(self, op: Operator, source: Layout, result: Layout) -> Combination:
        return (source, ROW_MAJOR, *(_extra_layout(op, v, result) for v in op.operands[2:])), result

    def arguments(self, op: Operator, target: Target) -> tuple[Argument, ...]:
        tail = _tail(op)
        assert tail is not None, "applicable() was not asked"
        weights = self._weights(op)
        packed = self.primitive.pack(self.spec(op), target, weights, _of_each_filter(tail.bias, op))
        extras = [self._extra(op, i, kind) for i, kind in zip(tail.extras, tail.kinds, strict=True)]
        return (Operand(0), *extras, *map(Constant, packed))

    @staticmethod
    def _weights(op: Operator) -> Array:
        """Constant weights, with two spatial axes where they have one."""
        weights = constant_of(op.operands[1])
        assert weights is not None, "applicable() was not asked"
        return weights[:, :, None] if weights.ndim == 3 else weights

    @staticmethod
    def _extra(op: Operator, index: int, kind: Extra) -> Argument:
        array, layout = constant_of(op.operands[index]), op.result.type.layout
        if array is None:
            return Operand(index)
        if kind == "channel" and layout.block:
            places = (1, op.result.type.shape[1], *(1 for _ in op.result.type.shape[2:]))
            return Constant(to_layout(array.reshape(places), layout).reshape(-1))
        return Constant(to_layout(array, layout) if kind == "full" else np.ascontiguousarray(array))


def _extra_layout(op: Operator, extra: Value, result: Layout) -> Layout:
    if op.get("reach") and extra is op.operands[-1]:
        return result
    kind = extra_kind(extra.type, op.result.type)
    blocked = kind == "full" or (kind == "channel" and extra.type.rank > 2)
    return result if blocked and constant_of(extra) is None else ROW_MAJOR


def _ending(op: Operator) -> dict[str, Any]:
    """The fields of an epilogue."""
    tail = _tail(op)
    if tail is None:
        raise ValueError(f"{op!r}: the epilogue's operands do not fit")
    return {"bias": tail.bias is not None, "epilogue": tail.epilogue, "extras": tail.kinds}


class Convolution(AdjustableAdapter[ConvSpec], _OfFloats[ConvSpec]):
    """`nn.conv` on images or rows with constant weights."""

    operators = ("conv",)
    kind: type[ConvSpec] = ConvSpec

    def __init__(self, primitive: Any, *, spreads: bool = False, ending: bool = False) -> None:
        """`ending` tells that costs depend on what follows the sums."""
        super().__init__(primitive, spreads=spreads)
        self._ending, self._noisy = ending, isinstance(primitive, Noisy)

    def origin(self, op: Operator, target: Target) -> Origin | None:
        tail = _tail(op)
        if tail is None or not isinstance(self.primitive, FromFilters):
            return None
        found = self.primitive.origin(self.spec(op), target, self._weights(op))
        return replace(found, made=(1 + len(tail.extras),))

    def spec(self, op: Operator) -> ConvSpec:
        return self.kind(**window(op), **_ending(op), workspace_limit=workspace_limit(op))

    def _costs(self, specs: Sequence[ConvSpec], target: Target) -> tuple[Cost, ...]:
        """Asked once for layers that differ in their endings alone."""
        return super()._costs(specs if self._ending else [spec.bare for spec in specs], target)

    def noise(self, op: Operator, target: Target) -> float:
        """Whatever follows the sums."""
        return self.primitive.noise(self.kind(**window(op)), target) if self._noisy else 0.0


class TransposedConvolution(_OfFloats[TransposedSpec]):
    """`nn.conv_transpose` on images or rows with constant weights."""

    operators = ("conv_transpose",)

    def spec(self, op: Operator) -> TransposedSpec:
        return TransposedSpec(**window(op), output_padding=pair(op["output_padding"], 0), **_ending(op))


class Dense(_OfFloats[DenseSpec]):
    """`nn.matmul` of a matrix by a constant one."""

    operators = ("matmul",)
    ranks = (2,)
    kind: type[DenseSpec] = DenseSpec

    def refusal(self, op: Operator) -> str | None:
        matrix = op.operands[1].type.rank == 2
        return super().refusal(op) or (None if matrix else "needs a matrix of weights")

    def spec(self, op: Operator) -> DenseSpec:
        batch, inputs = op.operands[0].type.shape
        return self.kind(batch, inputs, op.result.type.shape[-1], **_ending(op))
