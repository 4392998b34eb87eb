"""Reductions, softmax and normalizations of long rows, each a block's."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

from secateur.ir.graph import Operator
from secateur.ir.types import DType

from ....primitives.reduce import pool_int8, reduce, row_norm, softmax
from ....tir import T, load, prim_func, view, when
from ....vector.loops import dot
from ....vector.numeric import convert
from ....vector.requantize import BLOCK
from ....vector.windows import Tile
from ..block import thread
from ..implicit_gemm_kernel import held
from .shared import Cut, Shared, SharedStrip, cut

_VECTORS = (4, 8)  # elements of a position that are one access


def _lanes(op: Operator) -> int:
    """Elements of an access."""
    return 16 // op.result.type.dtype.bytes


class SharedSoftmax(Shared, softmax.Softmax):
    """Along the innermost axis."""

    name = "softmax_shared"
    passes = 3
    cycles = 20.0

    def cut(self, op: Operator) -> Cut | None:
        spec = self.spec(op)
        return cut(spec.outer, spec.count, _lanes(op)) if spec.inner == 1 else None

    def build(self, op: Operator, cut: Cut) -> tuple[Any, Callable[[], Any]]:
        spec = self.spec(op)
        return spec, partial(_softmax, spec, cut)


def _softmax(spec: softmax.SoftmaxSpec, cut: Cut) -> Any:
    def body(x: Any, result: Any, shared: Any, block: Any, _: Any) -> None:
        made = softmax.Body(spec, cut.lanes)
        made.open(x, result)
        made.strip(SharedStrip.of(cut, shared), held(block * spec.count))

    return prim_func([("x", spec.dtype), ("result", spec.dtype)], body)


class _SharedNorm(Shared):
    """Rows of positions that lie side by side, or of blocks of channels."""

    passes = 3

    def cut(self, op: Operator) -> Cut | None:
        spec: row_norm.RowNormSpec = self.spec(op)  # type: ignore[attr-defined]  # the primitive's
        return cut(math.prod(spec.rows), spec.count, _lanes(op), spec.unit)

    def build(self, op: Operator, cut: Cut) -> tuple[Any, Callable[[], Any]]:
        spec = self.spec(op)  # type: ignore[attr-defined]  # the primitive's
        return spec, partial(_norm, spec, cut)


class SharedLayerNorm(_SharedNorm, row_norm.LayerNorm):
    """Along the innermost axes."""

    name = "layer_norm_shared"


class SharedInstanceNorm(_SharedNorm, row_norm.InstanceNorm):
    """Of a channel, or of a block of channels."""

    name = "instance_norm_shared"


def _norm(spec: row_norm.RowNormSpec, cut: Cut) -> Any:
    def body(*arguments: Any) -> None:
        *buffers, shared, block, _ = arguments
        made = row_norm.Body(spec, cut.lanes)
        made.open(*buffers)
        number = held(block)
        index = (
            [number] if len(spec.rows) == 1 else [f(number, spec.rows[1]) for f in (T.truncdiv, T.truncmod)]
        )
        parameter = held(dot(index, spec.row_steps))
        made.row(SharedStrip.of(cut, shared), held(number * (spec.count * spec.unit)), parameter)

    return prim_func([(n, spec.dtype) for n in ("x0", "x1", "x2", "result")], body)


class SharedReduce(Shared, reduce.Reduce):
    """Over the innermost axes, or over spatial ones of blocks of channels."""

    name = "reduce_shared"

    def cut(self, op: Operator) -> Cut | None:
        spec = self.spec(op)
        places = [i for i, gone in enumerate(spec.reduced) if gone]
        if len(places) != 1:
            return None
        before, behind = (
            math.prod(part) for part in (spec.extents[: places[0]], spec.extents[places[0] + 1 :])
        )
        if behind != 1 and behind not in _VECTORS:
            return None
        return cut(before, spec.extents[places[0]], unit=behind)

    def build(self, op: Operator, cut: Cut) -> tuple[Any, Callable[[], Any]]:
        spec = self.spec(op)
        return spec, partial(_reduce, spec, cut)


class SharedBlockedReduce(SharedReduce, reduce.BlockedReduce):
    """Over the spatial axes of blocks of channels."""

    name = "reduce_blocked_shared"


def _reduce(spec: reduce.ReduceSpec, cut: Cut) -> Any:
    def body(x: Any, result: Any, shared: Any, block: Any, _: Any) -> None:
        made = reduce.Body(spec, cut.lanes)
        made.x, made.result = x, result
        strip, base, width = (
            SharedStrip.of(cut, shared),
            held(block * (cut.count * cut.step)),
            cut.across or 1,
        )
        total = strip.reduce(
            made.start(),
            lambda offset, w: made.summand(base + offset, w),
            lambda a, b: made.combine(a, b, width),
            spec.computed,
        )
        with when(thread() == 0):
            made.finish(total[0], held(block * width), width)

    return prim_func([("x", spec.dtype), ("result", spec.dtype)], body)


class SharedLinearPool(Shared, pool_int8.LinearPool):
    """The average of whole images of bytes, by blocks of channels."""

    name = "linear_average_pool_shared"
    dtypes = (DType.U8,)

    def cut(self, op: Operator) -> Cut | None:
        spec = self.linear_spec(op)
        whole = all(a.out == 1 and a.kernel == a.size and a.interior == (0, 1) for a in spec.axes)
        return cut(spec.images, spec.window, unit=BLOCK) if whole and spec.block == BLOCK else None

    def build(self, op: Operator, cut: Cut) -> tuple[Any, Callable[[], Any]]:
        spec = self.linear_spec(op)
        return spec, partial(_pool, spec, cut)


def _pool(spec: pool_int8.LinearPoolSpec, cut: Cut) -> Any:
    def body(x: Any, parameters: Any, result: Any, shared: Any, block: Any, _: Any) -> None:
        made = pool_int8.Body(spec, BLOCK)
        made.x, made.parameters, made.result, made.width = x, parameters, result, BLOCK
        image = held(block)
        total = SharedStrip.of(cut, view(shared, "int32")).reduce(
            0,
            lambda offset, w: convert(load(x, image * (cut.count * BLOCK) + offset, w), "uint8", "int32", w),
            lambda a, b: a + b,
            "int32",
        )
        with when(thread() == 0):
            index, tile = [image, *[0] * (len(spec.axes) - 1)], Tile(0, 1, True)
            at = held(made.place(index))
            made.put(index, at, made.finish(index, tile)(total[0], at))

    return prim_func([("x", "uint8"), ("parameters", "float32"), ("result", spec.ending.result)], body)


PRIMITIVES = (
    SharedSoftmax(),
    SharedLayerNorm(),
    SharedInstanceNorm(),
    SharedReduce(),
    SharedBlockedReduce(),
    SharedLinearPool(),
)
