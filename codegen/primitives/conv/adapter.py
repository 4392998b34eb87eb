"""A primitive of specifications as one of operators: what convolutions of floats and of bytes share.

The kernels know frozen specifications only; an adapter reads them off an operator and says where each
kernel argument comes from.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Generic, TypeVar

from secateur.ir.graph import Operator
from secateur.ir.types import Layout

from ...kernel import Kernel
from ...targets.target import Target
from ..operator import Adjustable, Combination, Cost, Primitive, Ways, blocks_in_words
from ..specs import ConvSpec, DenseSpec, TransposedSpec, pair
from .planned import costs_of

Spec = TypeVar("Spec", bound=ConvSpec | TransposedSpec | DenseSpec)
Window = TypeVar("Window", bound=ConvSpec)
Laid = tuple[tuple[tuple[str, str], Spec], ...]
_REMEMBERED = 4096  # specifications: a search asks for the same layers of many graphs


class Adapter(Primitive, Generic[Spec]):
    """`primitive` is asked with a specification in each layout that it offers."""

    def __init__(self, primitive: Any, *, spreads: bool = False) -> None:
        self.primitive, self.name, self.spreads = primitive, primitive.name, spreads

    @abstractmethod
    def refusal(self, op: Operator) -> str | None:
        """Why the operator has no specification, or None."""

    @abstractmethod
    def spec(self, op: Operator) -> Spec:
        """With the layouts of the operator's types."""

    @abstractmethod
    def combination(self, op: Operator, source: Layout, result: Layout) -> Combination:
        """The layouts of all operands that go with those of input and result."""

    def offered(self, op: Operator, target: Target) -> list[tuple[str, str]]:
        """The primitive's layout combinations that it does not refuse."""
        return [pair for pair, _ in self._laid(op, target)]

    def specs(self, op: Operator, target: Target) -> list[Spec]:
        """One in each layout."""
        return [spec for _, spec in self._laid(op, target)]

    def _laid(self, op: Operator, target: Target) -> Laid[Spec]:
        return _laid(self.primitive, self.spec(op), target)

    def applicable(self, op: Operator, target: Target) -> str | None:
        refusal = self.refusal(op)
        if refusal or self.offered(op, target):
            return refusal
        spec = self.spec(op)
        pairs = self.primitive.layouts(spec, target) or (("NCHW", "NCHW"),)
        return str(self.primitive.applicable(_laid_out(spec, pairs[0]), target) or "offers no layout")

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        return tuple(self.combination(op, *map(Layout, pair)) for pair in self.offered(op, target))

    def workspace(self, op: Operator, target: Target) -> int:
        return max(int(self.primitive.workspace(s, target)) for s in self.specs(op, target))

    def estimate(self, op: Operator, target: Target) -> float:
        return min(float(self.primitive.estimate(s, target)) for s in self.specs(op, target))

    def ways(self, op: Operator, target: Target, read: dict[type, Any]) -> Ways | None:
        """With the specifications made once."""
        spec = self._read(op, read)
        laid = () if spec is None else _laid(self.primitive, spec, target)
        if not laid:
            return None
        layouts = (self.combination(op, *map(Layout, pair)) for pair, _ in laid)
        return tuple(layouts), self._costs([spec for _, spec in laid], target)

    def _read(self, op: Operator, read: dict[type, Any]) -> Spec | None:
        """The specification, None where there is none."""
        return None if self.refusal(op) else self.spec(op)

    def _costs(self, specs: Sequence[Spec], target: Target) -> tuple[Cost, ...]:
        """`costs` of an operator with a specification in each layout."""
        times = (float(self.primitive.estimate(spec, target)) for spec in specs)
        return (Cost(min(times), max(int(self.primitive.workspace(spec, target)) for spec in specs)),)

    def tiling(self, op: Operator, target: Target) -> Mapping[str, str]:
        return {**blocks_in_words(op), **self.primitive.tiling_words(self.spec(op), target)}

    def kernel(self, op: Operator, target: Target) -> Kernel:
        kernel: Kernel = self.primitive.kernel(self.spec(op), target)
        return kernel


class AdjustableAdapter(Adjustable, Adapter[Window]):
    """Of a primitive that may do with several amounts of workspace."""

    def costs(self, op: Operator, target: Target) -> tuple[Cost, ...]:
        return self._costs(self.specs(op, target), target)

    def _costs(self, specs: Sequence[Window], target: Target) -> tuple[Cost, ...]:
        return _known_costs(self.primitive, tuple(specs), target)


_known_costs = lru_cache(maxsize=8 * _REMEMBERED)(costs_of)  # of each of many primitives


@lru_cache(maxsize=_REMEMBERED)
def _laid(primitive: Any, spec: Any, target: Target) -> Laid[Any]:
    """The layouts that a primitive offers for a specification and does not refuse, and it in each of them."""
    found = ((pair, _laid_out(spec, pair)) for pair in primitive.layouts(spec, target))
    return tuple((p, s) for p, s in found if _reaches(s) and primitive.applicable(s, target) is None)


def forget() -> None:
    """Primitives are asked anew, as where their schedules have been changed."""
    _known_costs.cache_clear()
    _laid.cache_clear()


@lru_cache(maxsize=64)
def _laid_out(spec: Any, pair: tuple[str, str]) -> Any:
    """One for all primitives that are asked about an operator, with what it works out of itself."""
    return spec if isinstance(spec, DenseSpec) else replace(spec, in_layout=pair[0], out_layout=pair[1])


def _reaches(spec: ConvSpec | TransposedSpec | DenseSpec) -> bool:
    """Whether an operand that some channels meet lies as kernels read it: by the blocks of the result."""
    if not isinstance(spec, ConvSpec) or spec.reach is None:
        return True
    return spec.reach.at % spec.block == 0 and spec.reach.shift % spec.block == 0


def window(op: Operator) -> dict[str, Any]:
    """The fields that all convolutions share; a row is an image of height 1."""
    n, c, *size = op.operands[0].type.shape
    pads, half = op["pads"], len(size)
    height, width = pair(size, 1)
    return {
        "batch": n, "channels": c, "height": height, "width": width, "filters": op.result.type.shape[1],
        "kernel": pair(op.operands[1].type.shape[2:], 1), "strides": pair(op["strides"], 1),
        "pads": (*pair(pads[:half], 0), *pair(pads[half:], 0)), "dilations": pair(op["dilations"], 1),
        "groups": op["groups"],
        "in_layout": op.operands[0].type.layout.name, "out_layout": op.result.type.layout.name,
    }  # fmt: skip
