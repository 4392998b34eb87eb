"""Error powers of float convolutions as compiled, against float64: the table of `winograd/float32.py`.

Run `python -m tests.codegen.primitives.conv.winograd_noise`; a minute. Inputs are
rectified noise, white or smooth as images are; weights are white.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.codegen.primitives.conv.direct import DIRECT
from secateur.codegen.primitives.conv.winograd.float32 import WINOGRAD
from secateur.codegen.primitives.specs import ConvSpec
from secateur.codegen.targets.target import Target

from ...conv_harness import call, from_layout, targets, to_layout

Array = NDArray[np.float32]
CHANNELS = (16, 32, 64, 128, 256, 512)
KINDS = ("white", "smooth")
PRIMITIVES: tuple[Any, ...] = (DIRECT, *WINOGRAD)


def layer(channels: int, size: int = 14, filters: int = 32, lanes: int = 16) -> ConvSpec:
    """A 3x3 layer with padding, as networks have them."""
    layout = f"NCHW{lanes}c"
    around = (1, 1, 1, 1)
    return ConvSpec(
        1, channels, size, size, filters, (3, 3), pads=around, in_layout=layout, out_layout=layout
    )


def images(spec: ConvSpec, kind: str, seed: int) -> Array:
    """Rectified normal noise; `smooth` is averaged over 3x3 neighbours first."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((spec.batch, spec.channels, spec.height + 2, spec.width + 2))
    shifts = [x[:, :, i : i + spec.height, j : j + spec.width] for i in range(3) for j in range(3)]
    return np.maximum(sum(shifts) if kind == "smooth" else shifts[4], 0).astype(np.float32)


def exact(spec: ConvSpec, x: Array, w: Array) -> NDArray[np.float64]:
    """The convolution in float64: a sum over taps of products of matrices."""
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    doubles = w.astype(np.float64)
    result = np.zeros((spec.batch, spec.filters, spec.out_height, spec.out_width))
    for i, j in np.ndindex(3, 3):
        shifted = padded[:, :, i : i + spec.height, j : j + spec.width]
        result += np.einsum("fc,nchw->nfhw", doubles[:, :, i, j], shifted, optimize=True)
    return result


def error_power(primitive: Any, spec: ConvSpec, target: Target, kind: str = "white", seed: int = 0) -> float:
    """Squared error over squared value of a layer's results on random data."""
    assert primitive.applicable(spec, target) is None
    x = images(spec, kind, seed)
    w = np.random.default_rng(seed + 1).standard_normal((spec.filters, spec.channels, 3, 3), np.float32)
    inputs = [to_layout(x, spec.in_layout), *primitive.pack(spec, target, w, None)]
    shape = (spec.batch, spec.filters, spec.out_height, spec.out_width)
    empty = to_layout(np.zeros(shape, np.float32), spec.out_layout)
    got = from_layout(
        call(primitive.kernel(spec, target), target, inputs, empty), spec.out_layout, spec.filters
    )
    wanted = exact(spec, x, w)
    return float(((got - wanted) ** 2).sum() / (wanted**2).sum())


def rows(target: Target) -> Iterator[str]:
    """A row for each number of channels and kind of data: direct, then each tile."""
    for channels in CHANNELS:
        spec = layer(channels, lanes=target.lanes)
        for kind in KINDS:
            powers = [error_power(p, spec, target, kind) for p in PRIMITIVES]
            yield f"{target.isa.name:8} {channels:4} {kind:7}" + "".join(f" {p:9.2e}" for p in powers)


if __name__ == "__main__":
    print("isa      channels data   ", *(f"{p.name:>9}" for p in PRIMITIVES))
    for each in targets():
        for row in rows(each):
            print(row, flush=True)
