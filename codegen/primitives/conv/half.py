"""Operators on binary16 with sums in binary16, where a target has arithmetic on vectors of them."""

from __future__ import annotations

from collections.abc import Mapping

from secateur.ir.graph import Operator
from secateur.ir.types import DType

from ...kernel import Kernel
from ...targets.target import Target
from ..operator import Argument, Combination, Cost, Primitive
from ..specs import HalfConvSpec, HalfDenseSpec
from .operators import Convolution, Dense

PREFIX = "half_"


class HalfConvolution(Convolution):
    """`nn.conv` of binary16, for targets seen `in_half`."""

    dtype = DType.F16
    kind = HalfConvSpec


class HalfDense(Dense):
    """`nn.matmul` of binary16, for targets seen `in_half`."""

    dtype = DType.F16
    kind = HalfDenseSpec


class InHalf(Primitive):
    """A primitive of binary16 on targets as they are."""

    def __init__(self, primitive: Primitive) -> None:
        self.primitive, self.operators = primitive, primitive.operators
        self.name, self.spreads = PREFIX + primitive.name, primitive.spreads

    def applicable(self, op: Operator, target: Target) -> str | None:
        if not target.isa.half:
            return "no arithmetic in binary16"
        return self.primitive.applicable(op, target.in_half)

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        return self.primitive.layouts(op, target.in_half)

    def workspace(self, op: Operator, target: Target) -> int:
        return self.primitive.workspace(op, target.in_half)

    def estimate(self, op: Operator, target: Target) -> float:
        return self.primitive.estimate(op, target.in_half)

    def costs(self, op: Operator, target: Target) -> tuple[Cost, ...]:
        return self.primitive.costs(op, target.in_half)

    def noise(self, op: Operator, target: Target) -> float:
        return self.primitive.noise(op, target.in_half)

    def arguments(self, op: Operator, target: Target) -> tuple[Argument, ...]:
        return self.primitive.arguments(op, target.in_half)

    def tiling(self, op: Operator, target: Target) -> Mapping[str, str]:
        return self.primitive.tiling(op, target.in_half)

    def kernel(self, op: Operator, target: Target) -> Kernel:
        return self.primitive.kernel(op, target.in_half)
