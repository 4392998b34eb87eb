"""8-bit convolution as a matrix product over a strip of pixels whose taps are first copied side by side.

The strip (pixels x taps and channels, in whole quads) is written to the workspace
once and used for every filter. Taps outside the image are copied from the zero
point, so that all sums start alike and borders cost nothing in the product;
pixels of several rows share a register tile. The choice for small images with
many channels, whose panels of weights would be streamed for every row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.graph import Operator
from secateur.ir.ops.linear import one_quant

from ...kernel import Kernel
from ...targets.target import Target
from ...vector.dot import QUAD
from ...vector.requantize import BLOCK
from ..operator import Argument, Constant, Cost, constant_of
from ..specs import Floats, layout_block, up
from .arithmetic import Arithmetic, arithmetic_of
from .int8 import LinearConvolution, linear_spec
from .int8_spec import FEW, LinearSpec, starts
from .plan import KernelSpec, choose_vectors, step_cycles
from .planned import Planned

Array = NDArray[Any]

_PIXELS = 196  # of a strip: enough that streaming weights costs little beside the products
_PARTS = (2, 4, 8, _PIXELS)  # of it, down to one register tile, where memory is dear
_LINE = 64
_SPLITS = (4, 2, 5, 3, 1)  # of the filters where there are few strips; even ones suit two threads
_COPY = 1.5  # cycles of copying a piece
_TAP = 2.0  # cycles of finding one


@dataclass(frozen=True)
class Strip:
    """Pixels of a task (whole tiles of `rows`), register tile, parts of filters, lines of weights ahead."""

    pixels: int
    rows: int
    vectors: int
    splits: int
    ahead: int


@dataclass(frozen=True)
class Depth:
    """What is copied for a pixel: bytes of a tap, of all taps, and from one pixel to the next.

    Successive pixels must not fall into the same cache sets. `joined` tells that the taps of
    a kernel row lie side by side in the image as well.
    """

    tap: int
    taps: int
    joined: bool

    @property
    def bytes(self) -> int:
        return self.tap * self.taps

    @property
    def stride(self) -> int:
        return self.bytes + (_LINE if self.bytes % 1024 == 0 else 0)


def depth(spec: LinearSpec) -> Depth:
    block = layout_block(spec.in_layout)
    tap = up(spec.channels, QUAD)
    return Depth(tap, spec.kernel[0] * spec.kernel[1], tap == block and spec.dilations[1] == 1)


def pieces(count: int, widest: int) -> list[tuple[int, int]]:
    """(offset, bytes) of the vectors that copy `count` bytes, at least 4; the last may overlap another."""
    width = min(widest, 1 << (count.bit_length() - 1))
    return [(at, width) for at in range(0, count - width + 1, width)] + (
        [(count - width, width)] if count % width else []
    )


def packed_taps(spec: LinearSpec, target: Target, weights: Array, channels: int, vectors: int) -> Array:
    """[group of `vectors`][kh][kw][quad of `channels`][vector and lane of filters][channel of a quad]."""
    padded = np.zeros((spec.filters, *spec.kernel, channels), weights.dtype)
    padded[..., : spec.channels] = np.moveaxis(weights, 1, -1)
    filters = spec.filter_vectors(target.lanes) * target.lanes
    return arithmetic_of(spec, target).pack(padded.reshape(spec.filters, -1, 1, 1), vectors, QUAD, filters)


@dataclass(frozen=True)
class LinearIm2row(Planned[LinearSpec, Strip]):
    """Any kernel, stride, dilation and padding; one group."""

    name: str = "im2row"

    def layouts(self, spec: LinearSpec, target: Target) -> tuple[tuple[str, str], ...]:
        source, result = spec.blocked_layouts(target)
        return ((spec.few_channels_layout() if spec.channels <= FEW else source, result),)

    def plans(self, spec: LinearSpec, target: Target) -> dict[Strip, Cost]:
        return _costs(spec, target)

    def pack(
        self, spec: LinearSpec, target: Target, weights: Array, bias: Floats | None
    ) -> tuple[Array, ...]:
        """[group of filters][tap, then quad of channels][vector and lane of filters][channel of a quad]."""
        return (packed_taps(spec, target, weights, depth(spec).tap, self.plan(spec, target).vectors),)

    def kernel(self, spec: LinearSpec, target: Target) -> Kernel:
        from .im2row_int8_nest import build

        strip, arithmetic = self.plan(spec, target), arithmetic_of(spec, target)
        spec = replace(spec, border=False)  # the copied taps hold what padding is
        tasks = spec.batch * -(-spec.pixels // strip.pixels) * strip.splits
        key = KernelSpec(f"linear_{self.name}", spec, strip, target.lanes)
        return Kernel(
            f"linear_{self.name}",
            key,
            partial(build, spec, strip, arithmetic, target.isa.vector_bytes),
            tasks,
            self.workspace(spec, target),
        )


def _costs(spec: LinearSpec, target: Target) -> dict[Strip, Cost]:
    """Of strips from the whole image down to one register tile; an ending that differs takes the same."""
    plain = replace(spec, workspace_limit=None, border=False, ending=replace(spec.ending, filters=0))
    plain = replace(plain, ending=replace(plain.ending, saturates=False, converts=False))
    return _costs_of(plain, target)


@lru_cache(maxsize=512)
def _costs_of(spec: LinearSpec, target: Target) -> dict[Strip, Cost]:
    strips = [_strip(spec, target, most) for most in (_PIXELS, spec.pixels, *(_PIXELS // n for n in _PARTS))]
    return {
        strip: Cost(_seconds(spec, strip, target), up(strip.pixels * depth(spec).stride + BLOCK, _LINE))
        for strip in strips
    }


def _strip(spec: LinearSpec, target: Target, most: int) -> Strip:
    """Of about `most` pixels. Lines of the next group's weights are asked for where they come from afar."""
    arithmetic, blocks = arithmetic_of(spec, target), spec.filter_vectors(target.lanes)
    steps = depth(spec).bytes // QUAD
    vectors = choose_vectors(blocks, min(most, spec.pixels), steps, target, arithmetic)
    widest = arithmetic.tile_pixels(target.isa.vector_registers, vectors)

    def work(rows: int) -> float:
        return -(-spec.pixels // rows) * step_cycles(rows, vectors, steps, target, arithmetic)

    rows = min(range(max(1, widest // 2), widest + 1), key=work)
    pixels = rows * min(-(-spec.pixels // rows), -(-most // rows))
    few = spec.batch * -(-spec.pixels // pixels) < 4
    splits = next(s for s in _SPLITS if s == 1 or (few and blocks // vectors % s == 0))
    far = steps * blocks * arithmetic.width > target.l2_bytes // 2
    ahead = -(-unrolled(steps) * vectors * arithmetic.width // _LINE // (pixels // rows)) if far else 0
    return Strip(pixels, rows, vectors, splits, ahead)


def unrolled(steps: int) -> int:
    """Steps of one block of code."""
    return max(n for n in (1, 2, 3, 4) if steps % n == 0)


def _seconds(spec: LinearSpec, strip: Strip, target: Target) -> float:
    arithmetic, taps = arithmetic_of(spec, target), depth(spec)
    cycles = _product_cycles(spec, strip, arithmetic, target)
    cycles += spec.batch * spec.pixels * strip.splits * _copy_cycles(spec, taps, target)
    return cycles / (target.clock_ghz * 1e9) + _traffic(spec, strip, arithmetic, target) + 2e-6


def _product_cycles(spec: LinearSpec, strip: Strip, arithmetic: Arithmetic, target: Target) -> float:
    """The first tile of a strip takes every panel of weights from the second-level cache, at best."""
    steps, vectors = depth(spec).bytes // QUAD, strip.vectors
    groups = spec.filter_vectors(target.lanes) // vectors
    strips = spec.batch * -(-spec.pixels // strip.pixels)
    ending = 40 + arithmetic.ending * strip.rows * vectors

    def tile(panel: int) -> float:
        return steps * step_cycles(strip.rows, vectors, panel, target, arithmetic) + ending

    all_panels = min(steps * groups, target.l2_bytes // 2 // (vectors * target.isa.vector_bytes))
    others = spec.batch * -(-spec.pixels // strip.rows) - strips
    return 0.95 * groups * (strips * tile(max(steps, all_panels)) + others * tile(steps))


def _copy_cycles(spec: LinearSpec, taps: Depth, target: Target) -> float:
    """Of one pixel."""
    if taps.joined:
        row = len(pieces(spec.kernel[1] * taps.tap, target.isa.vector_bytes))
        return 20.0 + spec.kernel[0] * (row * _COPY + _TAP)
    blocks = -(-spec.channels // layout_block(spec.in_layout))
    return 20.0 + taps.taps * (blocks * _COPY + _TAP)


def _traffic(spec: LinearSpec, strip: Strip, arithmetic: Arithmetic, target: Target) -> float:
    """Seconds that streaming from beyond the second-level cache adds; the products hide a part of it."""
    strips, taps = spec.batch * -(-spec.pixels // strip.pixels), depth(spec)
    weights = taps.bytes * spec.filter_vectors(target.lanes) * arithmetic.lanes
    copied = strip.pixels * taps.stride
    streamed = 1.0 * weights * (strips if weights > target.l2_bytes // 2 else 1)
    streamed += 2.0 * copied * strips if copied > target.l2_bytes else 0.0
    streamed += spec.batch * (
        spec.channels * spec.height * spec.width + spec.result_bytes * spec.filters * spec.pixels
    )
    return 0.6 * max(0.0, streamed - target.l2_bytes) / (target.far_gbps(streamed) * 1e9)


class _Convolution(LinearConvolution):
    """`q.linear_conv` whose padding is copied: a constant of it, and starts that are alike for all pixels."""

    def arguments(self, op: Operator, target: Target) -> tuple[Argument, ...]:
        *first, _, multipliers, parameters = super().arguments(op, target)
        spec, zero = replace(linear_spec(op), border=False), one_quant(op.operands[0].type)[1]
        weights, bias = (constant_of(v) for v in op.operands[1:3])
        assert weights is not None, "the primitive takes constants alone"
        assert bias is not None, "the primitive takes constants alone"
        start = starts(spec, weights.reshape(*weights.shape[:2], *spec.kernel), bias, zero)
        padding = np.full(BLOCK, zero, np.uint8)
        return (*first, Constant(padding), Constant(start), multipliers, parameters)


PRIMITIVES = (_Convolution(LinearIm2row()),)
