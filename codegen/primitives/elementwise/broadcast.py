"""Code of element-wise operators with broadcasting, in any layout and element type."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from secateur.ir.elementwise import Epilogue
from secateur.ir.types import Layout

from ...kernel import Kernel
from ...tir import T, prim_func, splat, store
from ...vector.epilogue import apply
from ...vector.half import Half
from ...vector.loops import Expr, Nest, broadcast_strides, row_major_strides
from ...vector.numeric import Numeric, convert, from_truth, is_zero, lanes_for
from ...vector.walk import Walk, loaded

COMPARISONS = ("equal", "greater", "greater_equal", "less", "less_equal")
BOOLEANS = ("and", "or", "xor", "not")


@dataclass(frozen=True)
class PointwiseSpec:
    """result[i] = function(operand_0[i], ...) over a box in the result's memory order.

    `strides` and `dtypes` are in the order of the kernel's pointers; operand i of the
    function is pointer `places[i]`. `function` is "map" (the epilogue on operand 0), a
    comparison or boolean, "cast", "where" or "batch_norm" (epsilon in `params`). Element
    types are those in memory, booleans being "uint8"; "bool" as the result's type makes a
    cast a test for nonzero. `channels` is 0, or the number of
    channels of a blocked result whose padding lanes must be set to zero; the box is
    then (images, blocks, pixels, lanes). `half`: a chain on binary16 is computed in it.
    """

    function: str
    extents: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]
    result: str
    places: tuple[int, ...]
    epilogue: Epilogue = ()
    channels: int = 0
    params: tuple[float, ...] = ()
    half: bool = False


def blocked_strides(shape: Sequence[int], to: Sequence[int], layout: Layout, block: int) -> tuple[int, ...]:
    """Strides over (N, blocks, *spatial, lanes) of a tensor of `shape` broadcast to shape `to`.

    `layout` is the operand's own: blocked, or row-major where its memory order allows it
    (the channel axis has extent 1, or is the only one besides the images').
    """
    if layout.block:
        return broadcast_blocked(tuple(shape), tuple(to), block)
    images, channel, *spatial = broadcast_strides(shape, to)
    return (images, channel * block, *spatial, channel)


def broadcast_blocked(shape: tuple[int, ...], to: tuple[int, ...], block: int) -> tuple[int, ...]:
    """Strides of a blocked tensor broadcast to `to`; ranks are equal."""
    dense = row_major_strides(Layout(f"NCHW{block}c").physical_shape(shape))
    axes = [0, 1, *range(2, len(shape))]
    strides = [0 if shape[a] == 1 and to[a] != 1 else dense[a] for a in axes]
    return (*strides, 0 if shape[1] == 1 and to[1] != 1 else 1)


def fits_blocked(shape: Sequence[int], to: Sequence[int]) -> bool:
    """Whether a row-major operand can be read by blocks of channels: no channels, or channels alone."""
    aligned = (1,) * (len(to) - len(shape)) + tuple(shape)
    return aligned[1] == 1 or (aligned[1] == to[1] and math.prod(aligned[2:]) == 1)


def spec_nest(extents: Sequence[int], strides: Sequence[Sequence[int]], channels: int) -> Nest:
    """The box, collapsed; with `channels` it keeps its four dimensions."""
    nest = Nest(tuple(extents), tuple(map(tuple, strides)))
    if not channels:
        return nest.collapsed()
    pixels = Nest(nest.extents[2:-1], tuple(s[2:-1] for s in nest.strides)).collapsed()
    kept = tuple((*s[:2], *p, s[-1]) for s, p in zip(nest.strides, pixels.strides, strict=True))
    return Nest((*nest.extents[:2], *pixels.extents, nest.extents[-1]), kept)


def pointwise_kernel(name: str, spec: PointwiseSpec, lanes: int) -> Kernel:
    """The kernel; pointers are the operands in the order of `spec.dtypes`, then the result."""
    return Kernel(name, spec, partial(_build, spec, lanes), _walk(spec, lanes).tasks.count)


def _walk(spec: PointwiseSpec, lanes: int) -> Walk:
    width = lanes_for((*spec.dtypes, spec.result), lanes)
    work = 4.0 * (1 + len(spec.dtypes)) * _weight(spec)
    return Walk(spec.extents, spec.strides, width, work, bool(spec.channels))


def _weight(spec: PointwiseSpec) -> float:
    """Work for each element, in units of moving it."""
    return sum(s.function.work for s in spec.epilogue) / 8 + 1


def _build(spec: PointwiseSpec, lanes: int) -> Any:
    names = [(f"x{i}", d) for i, d in enumerate(spec.dtypes)]
    result = "uint8" if spec.result == "bool" else spec.result
    return prim_func([*names, ("result", result)], _Body(spec, lanes))


class _Body:
    """Emits the loops; called with the buffers."""

    def __init__(self, spec: PointwiseSpec, lanes: int) -> None:
        self.spec, self.lanes = spec, lanes

    def __call__(self, *arguments: Any) -> None:
        *self.inputs, self.result, _, begin, end = arguments
        _walk(self.spec, self.lanes).emit(begin, end, self._vector)

    def _vector(self, offsets: list[Expr], at: Expr, steps: list[int], lanes: int, channel: Expr) -> None:
        """One vector of results at offset `at`."""
        pointers = zip(self.inputs, offsets, steps, strict=True)
        vectors = [loaded(buffer, offset, step, lanes) for buffer, offset, step in pointers]
        value = evaluate(self.spec, [vectors[p] for p in self.spec.places], lanes)
        if self.spec.channels:
            value = valid_lanes(value, channel, self.spec.channels, lanes, self.spec.result)
        store(self.result, at, value, lanes)


def valid_lanes(value: Expr, channel: Expr, channels: int, lanes: int, dtype: str = "float32") -> Expr:
    """`value` with the lanes past the last channel set to zero; its first lane is `channel`."""
    lane = T.Ramp(channel, 1, lanes) if lanes > 1 else channel
    return T.Select(lane < splat(channels, lanes, "int32"), value, splat(0, lanes, dtype))


def evaluate(spec: PointwiseSpec, loaded: list[Expr], lanes: int) -> Expr:
    """The function on loaded vectors."""
    if spec.function == "map":
        return _mapped(spec, loaded, lanes)
    if spec.function == "batch_norm":
        return _batch_norm(spec, loaded, lanes)
    if spec.function == "where":
        return T.Select(is_zero(loaded[0], "uint8", lanes), loaded[2], loaded[1])
    if spec.function == "cast":
        if spec.result == "bool":
            return T.Select(
                is_zero(loaded[0], spec.dtypes[0], lanes), splat(0, lanes, "uint8"), splat(1, lanes, "uint8")
            )
        return convert(loaded[0], spec.dtypes[0], spec.result, lanes)
    if spec.function in BOOLEANS:
        return _boolean(spec.function, loaded, lanes)
    return from_truth(_compared(spec.function, *loaded), lanes)


def _computed(dtype: str) -> str:
    return "float32" if dtype == "float16" else dtype


def _mapped(spec: PointwiseSpec, loaded: list[Expr], lanes: int) -> Expr:
    """The chain; float16 among wider operands is computed in float32."""
    if spec.half:
        return apply(spec.epilogue, loaded[0], lambda i: loaded[i + 1], Half(lanes))
    if len(set(spec.dtypes)) == 1:
        return apply(spec.epilogue, loaded[0], lambda i: loaded[i + 1], Numeric(spec.result, lanes))
    wide = _computed(spec.result)
    first = convert(loaded[0], spec.result, wide, lanes)
    value = apply(spec.epilogue, first, lambda i: loaded[i + 1], Numeric(wide, lanes))
    return convert(value, wide, spec.result, lanes)


def _batch_norm(spec: PointwiseSpec, loaded: list[Expr], lanes: int) -> Expr:
    wide = _computed(spec.result)
    x, scale, bias, mean, variance = (convert(v, spec.result, wide, lanes) for v in loaded)
    slope = scale / T.sqrt(variance + splat(spec.params[0], lanes, wide))
    return convert((x - mean) * slope + bias, wide, spec.result, lanes)


def _compared(function: str, x: Expr, y: Expr) -> Expr:
    return {"equal": lambda: x == y, "greater": lambda: x > y, "greater_equal": lambda: x >= y,
            "less": lambda: x < y, "less_equal": lambda: x <= y}[function]()  # fmt: skip


def _boolean(function: str, loaded: list[Expr], lanes: int) -> Expr:
    """On bytes of 0 or 1."""
    x, y = loaded if len(loaded) > 1 else (loaded[0], splat(1, lanes, "uint8"))
    return {"and": lambda: x & y, "or": lambda: x | y, "xor": lambda: x ^ y, "not": lambda: x ^ y}[function]()
