"""Winograd convolution F(m x m, 3 x 3) in floats, one fused kernel per block of tiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np

from secateur.codegen.kernel import Kernel
from secateur.codegen.targets.target import Target
from secateur.ir.filters import transformed_filters

from ....rounding import up
from ....weights.origin import Origin, places_of
from ...operator import Array, Cost
from ...specs import ConvSpec, Floats
from ..arithmetic import float_arithmetic
from ..plan import even_split
from ..planned import Planned
from ..tile import pack_bias
from .arithmetic import FloatArithmetic
from .nest import kernel_of
from .plan import Blocking, Shape, costs, far_gbps

_SHARE = 0.66  # of the second-level cache for what a task keeps
_NEAR = 2.5  # times the memory's bandwidth, where all that streams fits the cache
_AHEAD = 2  # panels of weights between what is read and what is asked for

# Relative error power of F(m, 3) beyond direct sums: in any layer, and for each input channel. As measured on
# rectified white noise with 16 to 512 channels (`winograd_noise.py` of the tests), at vectors of 4, 8 and 16
# floats alike; of images, whose neighbours resemble each other, about half. Direct sums themselves have
# 1.4e-15 for each channel and F(2, 3), whose sums are shorter, half of that.
_NOISE = {2: (0.0, 0.0), 4: (3e-13, 2.1e-14), 6: (8e-13, 8.2e-14)}
_HALF_NOISE = {2: (1e-6, 4.5e-8), 4: (3e-6, 3.2e-7)}
HALF_TILES = tuple(_HALF_NOISE)
"""In binary16, all of it: with direct sums it is about 1e-7 for each channel, with F(6, 3) too much."""


class FloatShape(Shape[FloatArithmetic]):
    """Of floats."""

    def cycles(self, blocking: Any, target: Target) -> Any:
        rows, vectors, lanes, outputs = blocking.rows, blocking.vectors, self.lanes, self.tile[0]
        register_tiles = self.positions * -(-self.tiles // rows) * self.filters // self.width(blocking)
        step, ranges = self.step_cycles(rows, vectors, target), self.ranges(blocking)
        vector_tiles = self.positions * self.tiles / lanes
        products = register_tiles * self.channels * step
        products += vector_tiles * self.filters * self.chunks(blocking) * 3
        # Cycles for each vector of a tile: large tiles do not fit the registers.
        read, written = 3.0 + 0.27 * outputs**2, 2.0 + 0.2 * outputs**2
        transforms = vector_tiles * (read * ranges * self.channels + written * self.filters)
        size = float(self.number_bytes)
        streamed = size * self.positions * self.channels * self.filters * self.blocks(blocking)
        streamed += 2 * size * ranges * self.tiles * self.positions * self.channels
        near = streamed < target.l2_bytes / 2
        rate = far_gbps(streamed, target) * np.where(near, _NEAR, 1.0) / target.clock_ghz
        streaming = streamed / rate
        computing = products + transforms
        return np.maximum(computing, streaming) + 0.5 * np.minimum(computing, streaming)

    def _asks(self, target: Target) -> bool:
        """ARM's cores follow a stream of weights that stay in the second-level cache by themselves."""
        near = 4 * self.positions * self.channels * self.filters <= target.l2_bytes
        return not (target.isa.by_element and near)

    def blockings(self, target: Target) -> Iterator[Blocking]:
        blocks = self.filters // self.lanes
        vectors = 2 if blocks % 2 == 0 else 1
        most = self.arithmetic.products.tile_pixels(target.isa.vector_registers, vectors)
        for chunk in _divisors(self.channels // self.lanes):
            for groups in _divisors(blocks // vectors):
                channels, filters = chunk * self.lanes, groups * vectors * self.lanes
                fitting = int(_SHARE * target.l2_bytes) // (
                    self.number_bytes * self.positions * (channels + filters)
                )
                if fitting < min(8, self.tiles) and (chunk, groups) != (1, 1):
                    continue
                ahead = _AHEAD * channels * vectors * self.lanes if self._asks(target) else 0
                for rows in range(max(1, most // 2), most + 1):
                    for share in (1, 2, 4, 8):
                        tiles = even_split(self.tiles, max(fitting // share, rows))[0]
                        room = max(rows, fitting // rows * rows)
                        yield Blocking(min(up(tiles, rows), room), rows, vectors, channels, filters, ahead)


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]


@dataclass(frozen=True)
class WinogradConv(Planned[ConvSpec, Blocking]):
    """F(outputs, 3) on both axes: 3x3 kernels, stride 1, one group."""

    name: str
    outputs: int

    def applicable(self, spec: ConvSpec, target: Target) -> str | None:
        if spec.kernel != (3, 3) or spec.strides != (1, 1) or spec.dilations != (1, 1):
            return f"kernel {spec.kernel}, strides {spec.strides}, dilations {spec.dilations}"
        return super().applicable(spec, target)

    def layouts(self, spec: ConvSpec, target: Target) -> tuple[tuple[str, str], ...]:
        return (spec.blocked_layouts(target),)

    def plans(self, spec: ConvSpec, target: Target) -> Mapping[Blocking, Cost]:
        return _plans(self, spec.costed(), target)

    def plan_words(self, plan: Blocking) -> dict[str, str]:
        return {"tile of Winograd": f"F({self.outputs}, 3)", **plan.words}

    def noise(self, spec: ConvSpec, target: Target) -> float:
        """Relative error power beyond direct sums; rounded products and their sums grow in the transforms."""
        fixed, per_channel = (_HALF_NOISE if spec.dtype == "float16" else _NOISE)[self.outputs]
        return fixed + per_channel * spec.channels

    def pack(
        self, spec: ConvSpec, target: Target, weights: Floats, bias: Floats | None
    ) -> tuple[Floats, ...]:
        """G w G^T as [range of filters][chunk of channels][position][group][channel][vector and lane]."""
        shape = self.shape(spec, target)
        g = shape.arithmetic.filters
        spread = transformed_filters(weights, g, g).reshape(shape.positions, spec.filters, spec.channels)
        padded = np.zeros((shape.positions, shape.filters, shape.channels), spec.dtype)
        padded[:, : spec.filters, : spec.channels] = spread
        packed = _arranged(shape, self.plan(spec, target), padded)
        return (packed, *pack_bias(bias, spec.filters, target.lanes))

    def origin(self, spec: ConvSpec, target: Target, weights: Floats) -> Origin:
        """Of the weights, wherever among the kernel's arguments they are."""
        shape, blocking = self.shape(spec, target), self.plan(spec, target)
        g = shape.arithmetic.filters
        extents = (shape.positions, shape.filters, shape.channels)
        return Origin(weights, g, g, places_of(partial(_arranged, shape, blocking), extents))

    def kernel(self, spec: ConvSpec, target: Target) -> Kernel:
        return kernel_of(self.name, self.shape(spec, target), self.plan(spec, target))

    def shape(self, spec: ConvSpec, target: Target) -> FloatShape:
        arithmetic = FloatArithmetic(float_arithmetic(target, spec.dtype), self.outputs)
        return FloatShape(replace(spec, workspace_limit=None), (self.outputs, self.outputs), arithmetic)


def _arranged(shape: FloatShape, blocking: Blocking, padded: Array) -> Array:
    """(positions, filters, channels) as `pack` orders them."""
    chunks, ranges, width = shape.chunks(blocking), shape.ranges(blocking), shape.width(blocking)
    split = padded.reshape(shape.positions, ranges, -1, width, chunks, blocking.channels)
    return np.ascontiguousarray(split.transpose(1, 4, 0, 2, 5, 3))


@lru_cache(maxsize=512)
def _plans(primitive: WinogradConv, spec: ConvSpec, target: Target) -> Mapping[Blocking, Cost]:
    return costs(primitive.shape(spec, target), target)


WINOGRAD = tuple(WinogradConv(f"winograd{m}", m) for m in (2, 4, 6))
