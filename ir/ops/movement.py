"""Operators that move data without computing: shape changes, slices, padding, resizing; and constants."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..literals import written
from ..opdef import Attribute, OpDef, Signature
from ..types import DType, TensorType
from . import movement_axes as axes
from .rows import register
from .rules import broadcast, floating, normalize_axis, numeric, require, same_dtype


def _constant(sig: Signature) -> Sequence[TensorType]:
    value = sig["value"]
    return [TensorType(tuple(value.shape), DType.of(value.dtype))]


register(
    OpDef(
        "nn.constant",
        "A tensor known at compile time.",
        (),
        _constant,
        (
            Attribute("value", "array"),
            Attribute("stored", "str", "", "the codec by which an artifact holds it; empty: as it is"),
        ),
        axes=axes.CONSTANT,
    )
)


def _reshape(sig: Signature) -> Sequence[TensorType]:
    x, shape = sig.types[0], sig["shape"]
    require(
        min(shape, default=0) >= 0 and math.prod(shape) == x.elements, f"{x} cannot become {written(shape)}"
    )
    return [TensorType(shape, x.dtype)]


register(
    OpDef(
        "nn.reshape",
        "The same elements in row-major order under another shape.",
        ("x",),
        _reshape,
        (Attribute("shape", "ints"),),
        moves=True,
        axes=axes.RESHAPE,
    )
)


def _transpose(sig: Signature) -> Sequence[TensorType]:
    x, perm = sig.types[0], sig["perm"]
    require(sorted(perm) == list(range(x.rank)), f"{written(perm)} is no permutation of {x.rank} axes")
    return [TensorType(tuple(x.shape[p] for p in perm), x.dtype)]


register(
    OpDef(
        "nn.transpose",
        "Axes reordered: result axis i is operand axis perm[i].",
        ("x",),
        _transpose,
        (Attribute("perm", "ints"),),
        moves=True,
        axes=axes.TRANSPOSE,
    )
)


def _expand(sig: Signature) -> Sequence[TensorType]:
    x, shape = sig.types[0], sig["shape"]
    require(broadcast(x.shape, shape) == shape, f"{x} does not broadcast to {written(shape)}")
    return [TensorType(shape, x.dtype)]


register(
    OpDef(
        "nn.expand",
        "Broadcast to a shape.",
        ("x",),
        _expand,
        (Attribute("shape", "ints"),),
        moves=True,
        axes=axes.EXPAND,
    )
)


def _tile(sig: Signature) -> Sequence[TensorType]:
    x, repeats = sig.types[0], sig["repeats"]
    require(
        len(repeats) == x.rank and min(repeats, default=0) >= 0,
        f"repeats {written(repeats)} do not fit {x}",
    )
    return [TensorType(tuple(d * r for d, r in zip(x.shape, repeats, strict=True)), x.dtype)]


register(
    OpDef(
        "nn.tile",
        "The tensor repeated along each axis.",
        ("x",),
        _tile,
        (Attribute("repeats", "ints"),),
        moves=True,
        axes=axes.TILE,
    )
)


def _concat(sig: Signature) -> Sequence[TensorType]:
    require(len(sig.types) > 0, "nothing to concatenate")
    first = sig.types[0]
    axis = normalize_axis(sig["axis"], first.rank)
    rest = {(t.rank, *t.shape[:axis], *t.shape[axis + 1 :]) for t in sig.types}
    require(len(rest) == 1, f"shapes {', '.join(map(str, sig.types))} differ outside axis {axis}")
    extent = sum(t.shape[axis] for t in sig.types)
    return [TensorType((*first.shape[:axis], extent, *first.shape[axis + 1 :]), same_dtype(sig))]


register(
    OpDef(
        "nn.concat",
        "Tensors joined along an axis.",
        ("xs*",),
        _concat,
        (Attribute("axis", "int"),),
        moves=True,
        axes=axes.CONCAT,
    )
)


def _slice(sig: Signature) -> Sequence[TensorType]:
    x, starts, sizes, steps = sig.types[0], sig["starts"], sig["sizes"], sig["steps"]
    require(
        len(starts) == len(sizes) == len(steps) == x.rank,
        f"starts, sizes and steps must have {x.rank} entries",
    )
    for d, start, size, step in zip(x.shape, starts, sizes, steps, strict=True):
        last = start + (size - 1) * step
        require(
            step != 0 and size >= 0 and (size == 0 or (0 <= start < d and 0 <= last < d)),
            f"slice start {start} size {size} step {step} leaves an extent of {d}",
        )
    return [TensorType(tuple(sizes), x.dtype)]


register(
    OpDef(
        "nn.slice",
        "Element i of each axis is operand element starts + i steps; steps may be negative.",
        ("x",),
        _slice,
        (Attribute("starts", "ints"), Attribute("sizes", "ints"), Attribute("steps", "ints")),
        moves=True,
        axes=axes.SLICE,
    )
)


def _gather(sig: Signature) -> Sequence[TensorType]:
    x, indices = sig.types
    require(x.rank > 0, "a scalar has no axis to gather along")
    require(indices.dtype in (DType.I32, DType.I64), f"indices are {indices.dtype.value}, not i32 or i64")
    axis = normalize_axis(sig["axis"], x.rank)
    return [TensorType((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.dtype)]


register(
    OpDef(
        "nn.gather",
        "Slices along an axis picked by indices (negative ones count from the end).",
        ("x", "indices"),
        _gather,
        (Attribute("axis", "int", 0),),
        moves=True,
        axes=axes.GATHER,
    )
)


def _pad(sig: Signature) -> Sequence[TensorType]:
    x, pads, mode = sig.types[0], sig["pads"], sig["mode"]
    require(len(pads) == 2 * x.rank, f"pads {written(pads)} need two entries for each of {x.rank} axes")
    require(mode in ("constant", "reflect", "edge", "wrap"), f"unknown padding mode '{mode}'")
    shape = tuple(d + pads[i] + pads[x.rank + i] for i, d in enumerate(x.shape))
    require(min(shape, default=0) >= 0, f"pads {written(pads)} cut more than there is of {x}")
    for i, extent in enumerate(x.shape):
        widest, d = max(pads[i], pads[x.rank + i]), extent + min(0, pads[i]) + min(0, pads[x.rank + i])
        require(d >= 0, f"pads {written(pads)} cut more than there is of {x}")
        require(
            mode != "reflect" or widest < d or widest <= 0,
            f"cannot reflect {widest} elements of an extent of {d}",
        )
        require(mode not in ("edge", "wrap") or d > 0 or widest <= 0, "cannot extend an empty axis")
    return [TensorType(shape, x.dtype)]


register(
    OpDef(
        "nn.pad",
        "The tensor extended (negative pads cut): begins of all axes, then ends.",
        ("x",),
        _pad,
        (Attribute("pads", "ints"), Attribute("mode", "str", "constant"), Attribute("value", "float", 0.0)),
        moves=True,
        axes=axes.PAD,
    )
)

COORDINATES = (
    "half_pixel",
    "pytorch_half_pixel",
    "half_pixel_symmetric",
    "align_corners",
    "asymmetric",
    "tf_crop_and_resize",
)
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


MAX_SHRINK = 4096
"""Elements along an axis that an antialiased result may be made of."""


def _selects(given: Mapping[str, Any]) -> bool:
    """Whether a resize takes elements as they are: none is mixed, none comes from outside."""
    return bool(given["mode"] == "nearest" and given["coordinates"] != "tf_crop_and_resize")


def _resize(sig: Signature) -> Sequence[TensorType]:
    x, shape, scales = sig.types[0], sig["shape"], sig["scales"]
    require(len(shape) == x.rank and len(scales) == x.rank, f"shape and scales must have {x.rank} entries")
    require(sig["mode"] in ("nearest", "linear", "cubic"), f"unknown resize mode '{sig['mode']}'")
    require(sig["coordinates"] in COORDINATES, f"unknown coordinates '{sig['coordinates']}'")
    require(sig["rounding"] in ROUNDINGS, f"unknown rounding '{sig['rounding']}'")
    require(min(shape, default=1) > 0 and min(scales, default=1.0) > 0, "shape and scales must be positive")
    require(min(x.shape, default=1) > 0, f"nothing to interpolate between in {x}")
    require(all(map(math.isfinite, scales)), f"scales {written(scales)} are not finite")
    require(
        not sig["antialias"] or min(scales, default=1.0) >= 1 / MAX_SHRINK,
        f"antialias over more than {MAX_SHRINK} elements",
    )
    numeric(x)
    require(not sig["roi"] or len(sig["roi"]) == 2 * x.rank, f"roi must have {2 * x.rank} entries")
    return [TensorType(shape, x.dtype)]


register(
    OpDef(
        "nn.resize",
        "Interpolation to a shape (ONNX Resize).",
        ("x",),
        _resize,
        (
            Attribute("shape", "ints"),
            Attribute("scales", "floats"),
            Attribute("mode", "str", "nearest"),
            Attribute("coordinates", "str", "half_pixel"),
            Attribute("rounding", "str", "round_prefer_floor"),
            Attribute("cubic_coeff", "float", -0.75),
            Attribute("exclude_outside", "bool", False),
            Attribute("antialias", "bool", False),
            Attribute("extrapolation", "float", 0.0),
            Attribute("roi", "floats", ()),
        ),
        moves=_selects,
        axes=axes.RESIZE,
    )
)


def _depth_to_space(sig: Signature) -> Sequence[TensorType]:
    x, b = sig.types[0], sig["block"]
    require(x.rank == 4 and b > 0 and x.shape[1] % (b * b) == 0, f"{x} cannot be spread over blocks of {b}")
    n, c, h, w = x.shape
    require(sig["mode"] in ("DCR", "CRD"), f"unknown mode '{sig['mode']}'")
    return [TensorType((n, c // (b * b), h * b, w * b), x.dtype)]


register(
    OpDef(
        "nn.depth_to_space",
        "Channels spread over blocks of pixels; mode DCR or CRD.",
        ("x",),
        _depth_to_space,
        (Attribute("block", "int"), Attribute("mode", "str", "DCR")),
        moves=True,
        axes=axes.DEPTH_TO_SPACE,
    )
)


def _space_to_depth(sig: Signature) -> Sequence[TensorType]:
    x, b = sig.types[0], sig["block"]
    require(sig["mode"] in ("DCR", "CRD"), f"unknown mode '{sig['mode']}'")
    require(
        x.rank == 4 and b > 0 and x.shape[2] % b == 0 and x.shape[3] % b == 0,
        f"{x} has no blocks of {b}",
    )
    n, c, h, w = x.shape
    return [TensorType((n, c * b * b, h // b, w // b), x.dtype)]


register(
    OpDef(
        "nn.space_to_depth",
        "Blocks of pixels gathered into channels; mode DCR or CRD.",
        ("x",),
        _space_to_depth,
        (Attribute("block", "int"), Attribute("mode", "str", "DCR")),
        moves=True,
        axes=axes.SPACE_TO_DEPTH,
    )
)


def _relayout(sig: Signature) -> Sequence[TensorType]:
    return [sig.types[0]]


register(
    OpDef(
        "nn.relayout",
        "The same tensor laid out otherwise in memory; the result's type says how.",
        ("x",),
        _relayout,
        moves=True,
        axes=axes.RELAYOUT,
    )
)


def _grid_sample(sig: Signature) -> Sequence[TensorType]:
    x, grid = sig.types
    require(x.rank >= 3 and grid.rank == x.rank, f"input {x} and grid {grid} differ in rank")
    floating(x), floating(grid)
    fits = grid.shape[0] == x.shape[0] and grid.shape[-1] == x.rank - 2
    require(fits, f"grid {grid} does not fit an input of type {x}")
    require(sig["mode"] in GRID_MODES, f"unknown mode '{sig['mode']}'")
    require(sig["padding"] in GRID_PADDINGS, f"unknown padding '{sig['padding']}'")
    shape = (*x.shape[:2], *grid.shape[1:-1])
    empty = x.elements == 0 and math.prod(shape) > 0
    require(not empty, f"an input of type {x} has nothing to sample")
    return [TensorType(shape, x.dtype)]


GRID_MODES = ("linear", "nearest", "cubic")
GRID_PADDINGS = ("zeros", "border", "reflection")
GRID_CUBIC = -0.75  # the cubic kernel's coefficient

register(
    OpDef(
        "nn.grid_sample",
        "Interpolated at the grid's coordinates, innermost axis first, -1 to 1 from edge to edge.",
        ("x", "grid"),
        _grid_sample,
        (
            Attribute("mode", "str", "linear", "linear, nearest or cubic"),
            Attribute("padding", "str", "zeros", "what lies outside: zeros, border or reflection"),
            Attribute("align_corners", "bool", False, "-1 and 1 are the outer pixels' centres, not edges"),
        ),
        axes=axes.GRID_SAMPLE,
    )
)
