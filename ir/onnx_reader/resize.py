"""Resize and Upsample of every opset, brought to one operator; GridSample and AffineGrid."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..graph import Value
from ..ops.movement import COORDINATES, GRID_MODES, GRID_PADDINGS, ROUNDINGS
from ..ops.rules import normalize_axis
from ..types import extents
from .node import Handler, Node, NodeError

POLICIES = ("stretch", "not_larger", "not_smaller")


def _floats(node: Node, index: int, what: str) -> tuple[float, ...]:
    """A constant list of floats, empty where the input is left out."""
    if node.optional(index) is None:
        return ()
    return tuple(float(v) for v in node.known(index, what).reshape(-1))


def _ints(node: Node, index: int, what: str) -> tuple[int, ...]:
    return () if node.optional(index) is None else node.known_ints(index, what)


def scaled_shape(shape: Sequence[int], scales: Sequence[float]) -> tuple[int, ...]:
    """floor(extent * scale), the product in float32."""
    if len(scales) != len(shape) or not all(math.isfinite(s) and s > 0 for s in scales):
        raise NodeError(f"scales {tuple(scales)} do not fit shape {extents(shape)}")
    return tuple(math.floor(np.float32(d) * np.float32(s)) for d, s in zip(shape, scales, strict=True))


def upsample(node: Node) -> Value:
    x = node.input(0)
    scales = node.floats("scales") if node.opset < 9 else _floats(node, 1, "scales")
    return _old(node, x, scales)


def _old(node: Node, x: Value, scales: tuple[float, ...]) -> Value:
    """Upsample and Resize-10: pixels aligned by corners; nearest is floor, or ceiling where it shrinks."""
    shape, mode = scaled_shape(x.type.shape, scales), node.choice("mode", "nearest", ("nearest", "linear"))
    if mode == "nearest" and min(scales) < 1 < max(scales):
        raise NodeError(f"scales {scales} both grow and shrink")
    rounding = "ceil" if min(scales, default=1.0) < 1 else "floor"
    return node.emit(
        "resize", [x], shape=shape, scales=scales, mode=mode, coordinates="asymmetric", rounding=rounding
    )


def resize(node: Node) -> Value:
    x = node.input(0)
    if node.opset < 11:
        return _old(node, x, _floats(node, 1, "scales"))
    shape, scales = _target(node, x)
    attributes = {
        "mode": node.choice("mode", "nearest", ("nearest", "linear", "cubic")),
        **_coordinates(node),
        "cubic_coeff": node.number("cubic_coeff_a", -0.75),
        "exclude_outside": node.flag("exclude_outside"),
        "antialias": node.flag("antialias"),
        "extrapolation": node.number("extrapolation_value", 0.0),
        "roi": _roi(node, x),
    }
    return node.emit("resize", [x], shape=shape, scales=scales, **attributes)


def _coordinates(node: Node) -> dict[str, str]:
    """Coordinates and rounding; `tf_half_pixel_for_nn`, half a pixel further, is put into the rounding."""
    mode = node.choice("coordinate_transformation_mode", "half_pixel", (*COORDINATES, "tf_half_pixel_for_nn"))
    rounding = node.choice("nearest_mode", "round_prefer_floor", ROUNDINGS)
    if mode != "tf_half_pixel_for_nn":
        return {"coordinates": mode, "rounding": rounding}
    further = {"floor": "round_prefer_ceil", "round_prefer_floor": "ceil"}
    if rounding not in further or node.string("mode", "nearest") != "nearest":
        raise NodeError(
            "coordinates tf_half_pixel_for_nn are only supported for nearest by floor or round_prefer_floor"
        )
    return {"coordinates": "half_pixel", "rounding": further[rounding]}


def _axes(node: Node, x: Value) -> tuple[int, ...]:
    axes = tuple(normalize_axis(a, x.type.rank) for a in node.ints("axes", range(x.type.rank)))
    if len(set(axes)) != len(axes):
        raise NodeError(f"axes {axes} name one axis twice")
    return axes


def _roi(node: Node, x: Value) -> tuple[float, ...]:
    """Begins of all axes, then ends; only a crop has one."""
    roi = _floats(node, 1, "roi")
    if node.string("coordinate_transformation_mode", "half_pixel") != "tf_crop_and_resize":
        return ()
    axes, rank = _axes(node, x), x.type.rank
    if len(roi) != 2 * len(axes) or not all(map(math.isfinite, roi)):
        raise NodeError(f"roi {roi} does not fit {len(axes)} axes")
    full = [0.0] * rank + [1.0] * rank
    for i, axis in enumerate(axes):
        full[axis], full[rank + axis] = roi[i], roi[len(axes) + i]
    return tuple(full)


def _target(node: Node, x: Value) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """The result's shape and the scale of each axis, from scales or from sizes."""
    scales, sizes = _floats(node, 2, "scales"), _ints(node, 3, "sizes")
    axes, shape = _axes(node, x), x.type.shape
    if bool(scales) == bool(sizes):
        raise NodeError("either scales or sizes are needed")
    if len(scales or sizes) != len(axes):
        raise NodeError(f"{len(scales or sizes)} scales or sizes for {len(axes)} axes")
    if sizes:
        return _of_sizes(node, shape, dict(zip(axes, sizes, strict=True)))
    full = [1.0] * len(shape)
    for axis, scale in zip(axes, scales, strict=True):
        full[axis] = scale
    return scaled_shape(shape, full), tuple(full)


def _of_sizes(
    node: Node, shape: Sequence[int], sizes: dict[int, int]
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    if min(shape) < 1 or min(sizes.values()) < 1:
        raise NodeError(f"cannot resize {extents(shape)} to sizes {tuple(sizes.values())}")
    return policy_target(node.choice("keep_aspect_ratio_policy", "stretch", POLICIES), shape, sizes)


def policy_target(
    policy: str, shape: Sequence[int], sizes: Mapping[int, int]
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Shape and scales of a resize of some axes to `sizes`: exactly, or near them by one common scale."""
    ratios = {axis: size / shape[axis] for axis, size in sizes.items()}
    if policy == "stretch":
        wanted = {**dict(enumerate(shape)), **sizes}
        return tuple(wanted[a] for a in range(len(shape))), tuple(
            ratios.get(a, 1.0) for a in range(len(shape))
        )
    ratio = min(ratios.values()) if policy == "not_larger" else max(ratios.values())
    scales = tuple(ratio if a in sizes else 1.0 for a in range(len(shape)))
    return tuple(math.floor(d * s + 0.5) for d, s in zip(shape, scales, strict=True)), scales


def grid_sample(node: Node) -> Value:
    """Modes have other names since opset 20."""
    old = node.opset < 20
    known = ("bilinear", "nearest", "bicubic") if old else GRID_MODES
    mode = node.choice("mode", known[0], known)
    padding = node.choice("padding_mode", "zeros", GRID_PADDINGS)
    return node.emit(
        "grid_sample",
        [node.input(0), node.input(1)],
        mode=mode.removeprefix("bi"),
        padding=padding,
        align_corners=node.flag("align_corners"),
    )


def affine_grid(node: Node) -> Value:
    """Where theta (N x 2 x 3 or N x 3 x 4) sends each place of an image: N x H x W x 2, or one axis more.

    (places, 1) theta^T, both from -1 to 1, x first.
    """
    theta, size = node.input(0), node.known_ints(1, "the image's shape")
    image, n = size[2:], len(size) - 2
    if n not in (2, 3) or theta.type.shape != (size[0], n, n + 1):
        raise NodeError(f"theta {extents(theta.type.shape)} does not fit an image {extents(size)}")
    places = _places(image, node.flag("align_corners")).astype(theta.type.dtype.numpy)
    turned = node.emit("transpose", [theta], perm=(0, 2, 1))
    found = node.emit("matmul", [node.constant(places), turned])
    return node.emit("reshape", [found], shape=(size[0], *image, n))


def _places(shape: Sequence[int], corners: bool) -> NDArray[np.float64]:
    """(elements, axes + 1): the place of each element, its last axis first, and 1.

    -1 and 1 are the centres of the first and last element with `corners`, else their outer edges. A single
    element is at 0, as PyTorch has it.
    """
    axes = [np.linspace(-1, 1, d) if corners and d > 1 else (2 * np.arange(d) + 1) / d - 1 for d in shape]
    grids = np.meshgrid(*axes, indexing="ij")
    return np.stack([*(g.reshape(-1) for g in reversed(grids)), np.ones(math.prod(shape))], axis=1)


HANDLERS: dict[str, Handler] = {
    "AffineGrid": affine_grid,
    "GridSample": grid_sample,
    "Resize": resize,
    "Upsample": upsample,
}
