"""Element-wise operators: chains, single functions, casts, selection."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from secateur.ir.elementwise import FUNCTIONS, Epilogue, Step
from secateur.ir.graph import Operator
from secateur.ir.types import ROW_MAJOR, DType, Layout

from ...kernel import Kernel
from ...targets.target import Target
from ...vector.loops import broadcast_strides
from ..generic import (
    FLOATS,
    Generic,
    block_of,
    block_refusal,
    is_constant,
    physical,
    same_layouts,
    storage,
    target_block,
    type_after,
    with_half,
)
from ..operator import Array, Combination, constant_of, dynamic_operands, to_layout
from .broadcast import PointwiseSpec, blocked_strides, fits_blocked, pointwise_kernel, spec_nest


def argument_order(op: Operator) -> list[int]:
    """Operand indices in the order of the kernel's pointers: computed ones, then constants."""
    dynamic = dynamic_operands(op)
    return [*dynamic, *(i for i in range(len(op.operands)) if i not in dynamic)]


def chain_of(op: Operator) -> Epilogue:
    """The steps that an element-wise operator applies to its first operand."""
    kind = op.name.split(".", 1)[1]
    if kind == "map":
        epilogue: Epilogue = op["epilogue"]
        return epilogue
    if kind in FUNCTIONS:
        return (Step(kind, tuple(op[p] for p in FUNCTIONS[kind].params)),)
    return ()


class Elementwise(Generic):
    """One pass over memory; operands broadcast as strides of zero.

    A blocked result is offered where every operand can be read by blocks: it has the
    result's channels and is blocked too, or is row-major without channels or with nothing else.
    """

    name = "elementwise"
    operators = ("map", *FUNCTIONS, "cast", "where")

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        plain = same_layouts(op, ROW_MAJOR)
        if block_refusal(op, with_half(FLOATS, target)):
            return (plain,)
        layout = target_block(target, type_after(op).dtype)
        wanted = [self._operand_layout(op, i, layout) for i in range(len(op.operands))]
        if any(w is None for w in wanted):
            return (plain,)
        return (tuple(w or ROW_MAJOR for w in wanted), layout), plain

    def _operand_layout(self, op: Operator, index: int, layout: Layout) -> Layout | None:
        """The layout of an operand where the result is blocked; None where there is none."""
        type, to = op.operands[index].type, type_after(op)
        if type.dtype.bytes != to.dtype.bytes and type.shape != ():
            return None
        if is_constant(op, index):
            return (
                ROW_MAJOR if len(type.shape) == len(to.shape) or fits_blocked(type.shape, to.shape) else None
            )
        if len(type.shape) == len(to.shape) and type.shape[1] == to.shape[1]:
            return layout
        return (
            ROW_MAJOR if fits_blocked(type.shape, to.shape) and _channels(type.shape, to.shape) == 1 else None
        )

    def constants(self, op: Operator, target: Target) -> tuple[Array, ...]:
        found = ((i, constant_of(v)) for i, v in enumerate(op.operands))
        return tuple(self._packed(op, a) for i, a in found if a is not None)

    def _packed(self, op: Operator, array: Array) -> Array:
        """A constant as the result's blocks read it: aligned, its channels padded with zeros."""
        block, to = block_of(op), type_after(op).shape
        if not block or array.size == 1:
            return np.ascontiguousarray(array)
        aligned = array.reshape((1,) * (len(to) - array.ndim) + array.shape)
        return (
            to_layout(aligned, Layout(f"NCHW{block}c"))
            if aligned.shape[1] > 1
            else np.ascontiguousarray(aligned)
        )

    def vector_cost(self, op: Operator) -> float:
        return 2.0 + sum(s.function.work for s in chain_of(op))

    def spec(self, op: Operator) -> PointwiseSpec:
        """What the kernel's code depends on."""
        order = argument_order(op)
        result = type_after(op)
        extents = physical(result)
        channels = self._masked_channels(op)
        nest = spec_nest(extents, [self._strides(op, i) for i in order], channels)
        dtypes = tuple(storage(op.operands[i].type.dtype) for i in order)
        epilogue, places = chain_of(op), tuple(order.index(i) for i in range(len(order)))
        stored = "bool" if result.dtype == DType.BOOL else storage(result.dtype)
        return PointwiseSpec(
            self._function(op), nest.extents, nest.strides, dtypes, stored, places, epilogue, channels
        )

    def _function(self, op: Operator) -> str:
        kind = op.name.split(".", 1)[1]
        return "map" if kind == "map" or kind in FUNCTIONS else kind

    def _strides(self, op: Operator, index: int) -> tuple[int, ...]:
        type, to = op.operands[index].type, type_after(op)
        if not to.layout.block:
            return broadcast_strides(type.shape, to.shape)
        aligned = (1,) * (len(to.shape) - len(type.shape)) + type.shape
        layout = type.layout
        if is_constant(op, index) and aligned[1] > 1:
            layout = to.layout
        return blocked_strides(aligned, to.shape, layout, to.layout.block)

    def _masked_channels(self, op: Operator) -> int:
        """The channel count where padding lanes would not come out as zero by themselves, else 0."""
        result = type_after(op)
        block = result.layout.block
        if not block or result.shape[1] % block == 0 or self._keeps_zero(op):
            return 0
        return result.shape[1]

    def _keeps_zero(self, op: Operator) -> bool:
        if self._function(op) == "cast":
            return True
        if self._function(op) != "map" or any(
            _channels(v.type.shape, type_after(op).shape) == 1 for v in op.operands
        ):
            return False
        zero = np.zeros(1, np.float32)
        with np.errstate(all="ignore"):
            return all(
                float(s.function.evaluate(*[zero] * s.function.arity, *s.params)[0]) == 0.0
                for s in chain_of(op)
            )

    def kernel(self, op: Operator, target: Target) -> Kernel:
        spec, name = self.spec(op), op.name.split(".", 1)[1]
        if target.isa.half and {*spec.dtypes, spec.result} == {"float16"}:
            return pointwise_kernel(name, replace(spec, half=True), target.in_half.lanes)
        return pointwise_kernel(name, spec, target.lanes)


def _channels(shape: tuple[int, ...], to: tuple[int, ...]) -> int:
    """Extent of axis 1 of `to` in an operand that broadcasts to it."""
    aligned = (1,) * (len(to) - len(shape)) + shape
    return aligned[1] if len(to) > 1 else 1


PRIMITIVES = (Elementwise(),)
