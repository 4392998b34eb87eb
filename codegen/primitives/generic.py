"""Common ground of the generic primitives: storage types, estimates, refusals."""

from __future__ import annotations

import math

from secateur.ir.graph import Operator
from secateur.ir.types import ROW_MAJOR, DType, Layout, TensorType, blocked

from ..targets.target import Target
from ..vector.requantize import BLOCK
from .operator import Combination, Primitive, constant_of

CALL_SECONDS = 3e-7  # entering a kernel


def storage(dtype: DType) -> str:
    """The TIR type of an element in memory; booleans are bytes of 0 or 1."""
    return "uint8" if dtype == DType.BOOL else dtype.numpy.name


def physical(type: TensorType) -> tuple[int, ...]:
    """The shape in memory."""
    return type.layout.physical_shape(type.shape)


def type_after(op: Operator) -> TensorType:
    return op.results[0].type


def block_of(op: Operator) -> int:
    """Channel lanes of the result's layout; 0 where it is row-major."""
    return type_after(op).layout.block


def is_constant(op: Operator, index: int) -> bool:
    return constant_of(op.operands[index]) is not None


def same_layouts(op: Operator, layout: Layout) -> Combination:
    """`layout` for the result and every operand that is not constant."""
    operands = tuple(ROW_MAJOR if is_constant(op, i) else layout for i in range(len(op.operands)))
    return operands, layout


class Generic(Primitive):
    """A primitive that takes everything its operators can be, row-major, and is bound by memory.

    `cost` is vector operations for each vector of elements read.
    """

    cost = 2.0

    def applicable(self, op: Operator, target: Target) -> str | None:
        return None

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        return (same_layouts(op, ROW_MAJOR),)

    def estimate(self, op: Operator, target: Target) -> float:
        moved = sum(v.type.bytes for v in (*op.operands, *op.results))
        elements = max((v.type.elements for v in (*op.operands, *op.results)), default=0)
        cycles = elements * self.vector_cost(op) / target.lanes
        return max(moved / (target.gbps(moved) * 1e9), cycles / (target.clock_ghz * 1e9)) + CALL_SECONDS

    def vector_cost(self, op: Operator) -> float:
        """Cycles for each vector of elements."""
        return self.cost


FLOATS = (DType.F32,)
BYTES = (DType.U8, DType.I8)
BLOCKED = (*FLOATS, *BYTES)


def with_half(dtypes: tuple[DType, ...], target: Target) -> tuple[DType, ...]:
    """`dtypes`, and binary16 where the target has blocks of them."""
    return (*dtypes, DType.F16) if target.isa.half else dtypes


def block_refusal(op: Operator, dtypes: tuple[DType, ...] = FLOATS) -> str | None:
    """Why the result cannot be blocked by a primitive that takes `dtypes`, or None."""
    shape, dtype = type_after(op).shape, type_after(op).dtype
    if len(shape) < 3 or dtype not in dtypes:
        kinds = "float32 and 8-bit tensors" if set(BYTES) & set(dtypes) else "float32 tensors"
        return f"only {kinds} with spatial axes are blocked"
    return "an empty tensor" if math.prod(shape) == 0 else None


def channel_block(target: Target, dtype: DType = DType.F32) -> int:
    """Channel lanes of blocked tensors: a vector of floats; of bytes 16, whatever the target."""
    if dtype in BYTES:
        return BLOCK
    return target.in_half.lanes if dtype == DType.F16 else target.lanes


def target_block(target: Target, dtype: DType = DType.F32) -> Layout:
    """The blocked layout of tensors of `dtype`."""
    return blocked(channel_block(target, dtype))
