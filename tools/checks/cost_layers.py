"""Layers whose inner loops stand for the kernels of convolutions, and what the cost model thinks of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from secateur.codegen.kernel import Kernel
from secateur.codegen.primitives.conv.arithmetic import Arithmetic, Int8
from secateur.codegen.primitives.conv.depthwise.lanes import DEPTHWISE, holds_weights, tap_cycles
from secateur.codegen.primitives.conv.depthwise.lanes import arithmetic_of as lanes_of
from secateur.codegen.primitives.conv.direct import DIRECT, Direct
from secateur.codegen.primitives.conv.im2row.plan import float_step_cycles
from secateur.codegen.primitives.conv.im2row.primitive import IM2ROW
from secateur.codegen.primitives.conv.int8_spec import LinearSpec
from secateur.codegen.primitives.conv.plan import cheapest, row_runs, step_cycles
from secateur.codegen.primitives.conv.pointwise import POINTWISE, Pointwise
from secateur.codegen.primitives.conv.rows_by_element import RowsByElement
from secateur.codegen.primitives.conv.winograd.arithmetic import UNROLL
from secateur.codegen.primitives.conv.winograd.float32 import WINOGRAD
from secateur.codegen.primitives.conv.winograd.int8 import shape_of
from secateur.codegen.primitives.conv.winograd.nest import PRODUCTS, kernel_of
from secateur.codegen.primitives.conv.winograd.plan import blocks_together, costs
from secateur.codegen.primitives.specs import ConvSpec, block_name
from secateur.codegen.targets.target import Target
from secateur.codegen.vector.requantize import BLOCK

_TILE = 4  # outputs of a Winograd tile, down and across


@dataclass(frozen=True)
class Sample:
    """A kernel whose hottest loop adds `pixels` x `vectors` products a step, in `cycles` by the cost model.

    `multiplies` are instructions for each of them; `steps`, where it is not None, is how many steps one
    round of the loop has.
    """

    kernel: Kernel
    pixels: int
    vectors: int
    cycles: float
    multiplies: int = 1
    steps: int | None = None

    @property
    def tile(self) -> int:
        """Multiplying instructions of one step."""
        return self.pixels * self.vectors * self.multiplies


def _spec(target: Target, channels: int, side: int, filters: int, kernel: int = 3) -> ConvSpec:
    pad, block = kernel // 2, block_name(target)
    return ConvSpec(
        1, channels, side, side, filters, (kernel, kernel), pads=(pad,) * 4, in_layout=block, out_layout=block
    )  # fmt: skip


def _bytes(channels: int, side: int, filters: int, kernel: int = 3) -> LinearSpec:
    pad, block = kernel // 2, f"NCHW{BLOCK}c"
    return LinearSpec(
        1, channels, side, side, filters, (kernel, kernel), pads=(pad,) * 4, in_layout=block, out_layout=block
    )  # fmt: skip


def _tiled(primitive: Direct | Pointwise, spec: ConvSpec, target: Target) -> Sample:
    """The tile that a row has most of."""
    tiling, arithmetic = primitive.tiling(spec, target), primitive.arithmetic(spec, target)
    walked = primitive.walked(spec)
    runs = row_runs(walked, 0, tiling.columns or walked.out_width, tiling.pixels)
    pixels = max(runs, key=lambda run: run.tiles).size
    cycles = step_cycles(pixels, tiling.vectors, 1, target, arithmetic)
    multiplies = arithmetic.dot.multiplies if isinstance(arithmetic, Int8) else 1
    steps = _steps_together(walked, arithmetic)
    return Sample(primitive.kernel(spec, target), pixels, tiling.vectors, cycles, multiplies, steps)


def _steps_together(spec: ConvSpec, arithmetic: Arithmetic) -> int | None:
    """Steps of a round of a loop over streams: of a row of taps, or of two blocks of channels."""
    if not isinstance(arithmetic, RowsByElement):
        return None
    blocks = -(-spec.channels // arithmetic.lanes)
    one = spec.kernel == (1, 1)
    return arithmetic.lanes * (arithmetic.together(blocks) if one else spec.kernel[1])


def direct(target: Target) -> Sample:
    return _tiled(DIRECT, _spec(target, 64, 56, 64), target)


def pointwise(target: Target) -> Sample:
    return _tiled(POINTWISE, _spec(target, 256, 56, 64, 1), target)


def direct_bytes(target: Target) -> Sample:
    return _tiled(DIRECT, _bytes(64, 56, 64), target)


def pointwise_bytes(target: Target) -> Sample:
    return _tiled(POINTWISE, _bytes(256, 56, 64, 1), target)


def im2row(target: Target) -> Sample:
    spec = _spec(target, 256, 14, 256)
    strip = IM2ROW.plan(spec, target)
    cycles = float_step_cycles(strip.rows, strip.vectors, target)
    return Sample(IM2ROW.kernel(spec, target), strip.rows, strip.vectors, cycles)


def winograd(target: Target) -> Sample:
    spec, primitive = _spec(target, 64, 56, 64), WINOGRAD[1]
    blocking = primitive.plan(spec, target)
    cycles = primitive.shape(spec, target).step_cycles(blocking.rows, blocking.vectors, target)
    steps = UNROLL * blocks_together(primitive.shape(spec, target), blocking)
    return Sample(primitive.kernel(spec, target), blocking.rows, blocking.vectors, cycles, steps=steps)


def winograd_bytes(target: Target) -> Sample:
    """The products alone."""
    shape = shape_of(_bytes(64, 56, 64), (_TILE, _TILE), 0, target)
    blocking = cheapest(costs(shape, target), None)
    kernel = kernel_of("linear_winograd", shape, blocking, (PRODUCTS,))
    cycles = shape.step_cycles(blocking.rows, blocking.vectors, target)
    return Sample(kernel, blocking.rows, blocking.vectors, cycles, shape.arithmetic.products.dot.multiplies)


def depthwise(target: Target) -> Sample:
    """A step is one tap of every pixel of a tile."""
    spec = replace(_spec(target, 64, 56, 64), groups=64)
    kernel = DEPTHWISE.kernel(spec, target)
    pixels = DEPTHWISE.pixels(spec, target)
    held = holds_weights(spec, pixels, lanes_of(spec, target), target)
    cycles = tap_cycles(pixels, target, held)
    return Sample(kernel, pixels, 1, cycles)


LAYERS: dict[str, Callable[[Target], Sample]] = {
    "direct": direct,
    "pointwise": pointwise,
    "im2row": im2row,
    "winograd": winograd,
    "depthwise": depthwise,
    "int8-direct": direct_bytes,
    "int8-pointwise": pointwise_bytes,
    "int8-winograd": winograd_bytes,
}
"""Kernels of 3x3, but for the pointwise ones; Winograd is F(4x4, 3x3)."""
