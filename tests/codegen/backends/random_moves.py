"""Random graphs of one operator that moves, picks or looks up bytes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from secateur.ir.graph import Graph, Value
from secateur.ir.types import Quant

from .draw import Draw


def _image(d: Draw, rank: int | None = None) -> Value:
    return d.bytes("x", 1, *(d.whole(1, 6) for _ in range((rank or d.whole(2, 4)) - 1)))


def gathered(d: Draw) -> Graph:
    """Along any axis by constant indices: neighbours, or in any order."""
    x = _image(d)
    axis = d.whole(1, x.type.rank - 1)
    extent, count = x.type.shape[axis], d.whole(1, 12)
    shape = (count,) if d.rng.random() < 0.5 else (d.whole(1, 3), count)
    at = d.constant("at", d.rng.integers(-extent, extent, shape))
    return d.returned("nn.gather", [x, at], axis=axis)


def tiled(d: Draw) -> Graph:
    x = _image(d)
    return d.returned("nn.tile", [x], repeats=(1, *(d.whole(1, 3) for _ in range(x.type.rank - 1))))


def expanded(d: Draw) -> Graph:
    shape = [1, *(d.whole(1, 4) for _ in range(3))]
    given = [1 if d.rng.random() < 0.4 else n for n in shape]
    return d.returned("nn.expand", [d.bytes("x", *given)], shape=tuple(shape))


def edged(d: Draw) -> Graph:
    """Padding by elements of the operand."""
    x = d.bytes("x", 1, d.whole(2, 4), d.whole(4, 6), d.whole(4, 6))
    begins, ends = ((0, *(d.whole(0, n) for n in (1, 3, 3))) for _ in range(2))
    return d.returned("nn.pad", [x], pads=(*begins, *ends), mode=["edge", "reflect", "wrap"][d.whole(0, 2)])


def backwards(d: Draw) -> Graph:
    x = d.bytes("x", 1, d.whole(2, 6), d.whole(3, 8), d.whole(3, 8))
    steps = (1, *(int(d.rng.choice([-2, -1, 1, 2])) for _ in range(3)))
    starts = tuple(0 if s > 0 else n - 1 for n, s in zip(x.type.shape, steps, strict=True))
    sizes = tuple((n - 1) // abs(s) + 1 for n, s in zip(x.type.shape, steps, strict=True))
    return d.returned("nn.slice", [x], starts=starts, sizes=sizes, steps=steps)


def nearest(d: Draw) -> Graph:
    """Any coordinates, rounding and sizes."""
    x = _image(d, 4)
    shape = (*x.type.shape[:2], d.whole(1, 13), d.whole(1, 13))
    scales = tuple(b / a for a, b in zip(x.type.shape, shape, strict=True))
    kinds = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]
    ways = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
    chosen = {"coordinates": kinds[d.whole(0, 3)], "rounding": ways[d.whole(0, 3)]}
    return d.returned("nn.resize", [x], shape=shape, scales=scales, **chosen)


def extremes(d: Draw) -> Graph:
    x = _image(d)
    axes = [a for a in range(1, x.type.rank) if d.rng.random() < 0.6] or [x.type.rank - 1]
    kind = ["nn.reduce_max", "nn.reduce_min"][d.whole(0, 1)]
    return d.returned(kind, [x], axes=tuple(axes), keepdims=d.rng.random() < 0.5)


def indices(d: Draw) -> Graph:
    x = _image(d)
    return d.returned("nn.argmax", [x], axis=d.whole(1, x.type.rank - 1), keepdims=d.rng.random() < 0.5)


def looked_up(d: Draw) -> Graph:
    x, zero = _image(d), d.zero()
    values = d.constant("values", d.rng.integers(0, 256, 256).astype(np.uint8))
    return d.returned("q.table", [x, values], scales=(d.scale(),), zero_points=(zero,))


def uncounted(d: Draw) -> Graph:
    """An average that leaves its padding out: such windows as networks have, which SAME does not make."""
    kernel = (d.whole(2, 5), d.whole(2, 5))
    x = d.bytes("x", 1, d.whole(1, 5), d.whole(6, 11), d.whole(6, 11))
    quant = x.type.quant or Quant((1.0,), (0,))
    begins = tuple(d.whole(0, (k - 1) // 2) for k in kernel)
    ends = tuple(d.whole(0, k // 2) for k in kernel)
    window = {"strides": (d.whole(1, 3), d.whole(1, 3)), "dilations": (1, 1), "pads": (*begins, *ends)}
    result = {"scales": quant.scales, "zero_points": quant.zero_points, "rounding": "tflite"}
    return d.returned("q.linear_average_pool", [x], kernel=kernel, **window, **result)


MOVES: dict[str, Callable[[Draw], Graph]] = {
    "gathered": gathered,
    "tiled": tiled,
    "expanded": expanded,
    "edged": edged,
    "backwards": backwards,
    "nearest": nearest,
    "extremes": extremes,
    "indices": indices,
    "looked up": looked_up,
    "uncounted": uncounted,
}
