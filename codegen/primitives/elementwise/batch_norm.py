"""Batch normalization: a slope and an intercept for each channel."""

from __future__ import annotations

import numpy as np

from secateur.ir.elementwise import Step
from secateur.ir.graph import Operator
from secateur.ir.types import ROW_MAJOR, Layout

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
    storage,
    target_block,
    type_after,
    with_half,
)
from ..operator import Array, Combination, constant_of, to_layout
from .broadcast import PointwiseSpec, blocked_strides, pointwise_kernel, spec_nest
from .elementwise import argument_order


class BatchNorm(Generic):
    """Constant parameters become slope and intercept, in float64, beforehand."""

    name = "batch_norm"
    operators = ("batch_norm",)

    def applicable(self, op: Operator, target: Target) -> str | None:
        constant = all(is_constant(op, i) for i in range(1, 5)) and not is_constant(op, 0)
        return None if constant else "a parameter is computed at run time"

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        plain: Combination = ((ROW_MAJOR,) * 5, ROW_MAJOR)
        if block_refusal(op, with_half(FLOATS, target)):
            return (plain,)
        layout = target_block(target, type_after(op).dtype)
        return ((layout, *(ROW_MAJOR,) * 4), layout), plain

    def constants(self, op: Operator, target: Target) -> tuple[Array, ...]:
        arrays = [constant_of(v) for v in op.operands[1:]]
        scale, bias, mean, variance = (np.asarray(a, np.float64) for a in arrays)
        slope = scale / np.sqrt(variance + op["epsilon"])
        dtype = "float32" if storage(type_after(op).dtype) == "float16" else storage(type_after(op).dtype)
        pair = tuple(np.ascontiguousarray(a.astype(dtype)) for a in (slope, bias - mean * slope))
        block = block_of(op)
        return tuple(to_layout(a.reshape(1, -1, 1), Layout(f"NCHW{block}c")) for a in pair) if block else pair

    def kernel(self, op: Operator, target: Target) -> Kernel:
        result = type_after(op)
        block, rank = result.layout.block, result.rank
        channel = (1, result.shape[1], *(1,) * (rank - 2))
        if block:
            strides = [blocked_strides(result.shape, result.shape, result.layout, block)]
            strides += [blocked_strides(channel, result.shape, ROW_MAJOR, block)] * 2
        else:
            strides = [broadcast_strides(s, result.shape) for s in (result.shape, channel, channel)]
        nest = spec_nest(physical(result), strides, 0)
        stored = storage(result.dtype)
        wide = "float32" if stored == "float16" else stored
        chain = (Step("mul"), Step("add"))
        spec = PointwiseSpec(
            "map", nest.extents, nest.strides, (stored, wide, wide), stored, (0, 1, 2), chain
        )
        return pointwise_kernel("batch_norm", spec, target.lanes)


class ComputedBatchNorm(Generic):
    """Row-major, parameters computed at run time."""

    name = "batch_norm_computed"
    operators = ("batch_norm",)

    def kernel(self, op: Operator, target: Target) -> Kernel:
        result, order = type_after(op), argument_order(op)
        channel = (1, result.shape[1], *(1,) * (result.rank - 2))
        strides = [broadcast_strides(result.shape if i == 0 else channel, result.shape) for i in order]
        nest = spec_nest(physical(result), strides, 0)
        stored = storage(result.dtype)
        places = tuple(order.index(i) for i in range(5))
        spec = PointwiseSpec(
            "batch_norm", nest.extents, nest.strides, (stored,) * 5, stored, places, params=(op["epsilon"],)
        )
        return pointwise_kernel("batch_norm", spec, target.lanes)


PRIMITIVES = (BatchNorm(), ComputedBatchNorm())
