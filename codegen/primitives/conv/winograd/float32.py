"""Winograd convolution F(m x m, 3 x 3), one fused kernel per block of tiles.

A task takes a block of tiles and a range of filters through all phases while
they stay in the second-level cache: chunk by chunk of input channels, the input
transform writes one matrix (tiles x channels) for each of the (m+2)^2 positions,
which the products with the transformed weights add up; the output transform
with the epilogue follows. Only the weights stream, in the order in which they
lie. Transforms of the input are repeated for each range of filters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np

from secateur.codegen.kernel import Kernel
from secateur.codegen.targets.target import Target
from secateur.ir.winograd import winograd

from ...operator import Cost
from ...specs import ConvSpec, Floats, block_name, up
from ..plan import KernelSpec, cheapest, even_split, max_pixels, worth_offering
from ..tile import pack_bias

_PAD = 16  # floats between matrices, so that their rows do not fall into the same cache sets
_SHARE = 0.66  # of the second-level cache for what a task keeps
_NEAR = 2.5  # times the memory's bandwidth, where all that streams fits the cache

# Relative error power of F(m, 3) beyond direct sums: in any layer, and for each input channel. As measured on
# rectified white noise with 16 to 512 channels (tests/codegen/winograd_noise.py), at vectors of 4, 8 and 16
# floats alike; of images, whose neighbours resemble each other, about half. Direct sums themselves have
# 1.4e-15 for each channel and F(2, 3), whose sums are shorter, half of that.
_NOISE = {2: (0.0, 0.0), 4: (3e-13, 2.1e-14), 6: (8e-13, 8.2e-14)}


@dataclass(frozen=True)
class Blocking:
    """Tiles of a task, register tile (tiles x filter vectors), channels of a chunk and filters of a range."""

    tiles: int
    rows: int
    vectors: int
    channels: int
    filters: int


@dataclass(frozen=True)
class Shape:
    """Sizes of a whole layer, whole blocks of channels and filters included."""

    spec: ConvSpec
    outputs: int
    lanes: int

    @property
    def tile(self) -> int:
        return self.outputs + 2

    @property
    def positions(self) -> int:
        return self.tile**2

    @property
    def grid(self) -> tuple[int, int]:
        """Tiles down and across one image."""
        return -(-self.spec.out_height // self.outputs), -(-self.spec.out_width // self.outputs)

    @property
    def tiles(self) -> int:
        return self.spec.batch * self.grid[0] * self.grid[1]

    @property
    def channels(self) -> int:
        return up(self.spec.channels, self.lanes)

    @property
    def filters(self) -> int:
        return up(self.spec.filters, self.lanes)

    def transformed_stride(self, blocking: Blocking) -> int:
        """Floats from one position's matrix of transformed inputs to the next."""
        return blocking.tiles * blocking.channels + _PAD

    def product_stride(self, blocking: Blocking) -> int:
        return blocking.tiles * blocking.filters + _PAD

    def workspace(self, blocking: Blocking) -> int:
        """Bytes: the patch of a tile at the border, transformed inputs, products."""
        matrices = self.transformed_stride(blocking) + self.product_stride(blocking)
        return 4 * self.positions * (self.lanes + matrices)

    def tasks(self, blocking: Blocking) -> int:
        return -(-self.tiles // blocking.tiles) * (self.filters // blocking.filters)


def step_cycles(rows: int, vectors: int, target: Target) -> float:
    """Cycles to multiply one channel of `rows` tiles at one position with `vectors` filter vectors."""
    load = (rows + vectors) / 2
    return max(rows * vectors / target.fma_per_cycle, load, 4.0) + 0.3 * load


def _cycles(shape: Shape, blocking: Blocking, target: Target) -> float:
    """Time of a convolution in cycles: arithmetic, and the weights that stream in meanwhile."""
    rows, vectors, lanes = blocking.rows, blocking.vectors, shape.lanes
    register_tiles = shape.positions * -(-shape.tiles // rows) * shape.filters // (vectors * lanes)
    step = step_cycles(rows, vectors, target)
    chunks, ranges = shape.channels // blocking.channels, shape.filters // blocking.filters
    vector_tiles = shape.positions * shape.tiles / lanes
    products = register_tiles * shape.channels * step + vector_tiles * shape.filters * chunks * 3
    # Cycles for each vector of a tile: large tiles do not fit the registers.
    read, written = 3.0 + 0.27 * shape.outputs**2, 2.0 + 0.2 * shape.outputs**2
    transforms = vector_tiles * (read * ranges * shape.channels + written * shape.filters)
    blocks = -(-shape.tiles // blocking.tiles)
    streamed = 4.0 * shape.positions * shape.channels * shape.filters * blocks
    streamed += 8.0 * ranges * shape.tiles * shape.tile**2 * shape.channels
    near = streamed < target.l2_bytes / 2
    streaming = streamed / (target.far_gbps(streamed) * (_NEAR if near else 1.0) / target.clock_ghz)
    computing = products + transforms
    return max(computing, streaming) + 0.5 * min(computing, streaming)


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]


def _choices(shape: Shape, target: Target) -> Iterator[Blocking]:
    """Blockings that fit the cache; where none does, the smallest blocks of tiles."""
    blocks = shape.filters // shape.lanes
    vectors = 2 if blocks % 2 == 0 else 1
    most = max_pixels(target.isa.vector_registers, vectors)
    for chunk in _divisors(shape.channels // shape.lanes):
        for groups in _divisors(blocks // vectors):
            channels, filters = chunk * shape.lanes, groups * vectors * shape.lanes
            fitting = int(_SHARE * target.l2_bytes) // (4 * shape.positions * (channels + filters))
            if fitting < min(8, shape.tiles) and (chunk, groups) != (1, 1):
                continue
            for rows in range(max(1, most // 2), most + 1):
                for share in (1, 2, 4, 8):
                    tiles = even_split(shape.tiles, max(fitting // share, rows))[0]
                    room = max(rows, fitting // rows * rows)
                    yield Blocking(min(up(tiles, rows), room), rows, vectors, channels, filters)


@lru_cache(maxsize=512)
def _costs(shape: Shape, target: Target) -> dict[Blocking, Cost]:
    """Of every blocking; those that take less workspace are there for networks with little memory."""
    clock = target.clock_ghz * 1e9
    return {
        blocking: Cost(_cycles(shape, blocking, target) / clock + 3e-6, shape.workspace(blocking))
        for blocking in _choices(shape, target)
    }


@dataclass(frozen=True)
class WinogradConv:
    """F(outputs, 3) on both axes: 3x3 kernels, stride 1, one group."""

    name: str
    outputs: int

    def applicable(self, spec: ConvSpec, target: Target) -> str | None:
        if spec.kernel != (3, 3) or spec.strides != (1, 1) or spec.dilations != (1, 1):
            return f"kernel {spec.kernel}, strides {spec.strides}, dilations {spec.dilations}"
        if spec.groups != 1:
            return f"{spec.groups} groups"
        if (spec.in_layout, spec.out_layout) not in self.layouts(spec, target):
            return f"layouts {spec.in_layout} -> {spec.out_layout}"
        return None

    def layouts(self, spec: ConvSpec, target: Target) -> tuple[tuple[str, str], ...]:
        return ((block_name(target), block_name(target)),)

    def workspace(self, spec: ConvSpec, target: Target) -> int:
        return self._cost(spec, target).workspace

    def estimate(self, spec: ConvSpec, target: Target) -> float:
        return self._cost(spec, target).seconds

    def noise(self, spec: ConvSpec, target: Target) -> float:
        """Relative error power beyond direct sums; rounded products and their sums grow in the transforms."""
        fixed, per_channel = _NOISE[self.outputs]
        return fixed + per_channel * spec.channels

    def _cost(self, spec: ConvSpec, target: Target) -> Cost:
        return _costs(self._shape(spec, target), target)[self.blocking(spec, target)]

    def workspaces(self, spec: ConvSpec, target: Target) -> tuple[int, ...]:
        costs = _costs(self._shape(spec, target), target).values()
        return tuple(cost.workspace for cost in worth_offering(costs))

    def pack(
        self, spec: ConvSpec, target: Target, weights: Floats, bias: Floats | None
    ) -> tuple[Floats, ...]:
        """G w G^T as [range of filters][chunk of channels][position][group][channel][vector and lane]."""
        shape, blocking = self._shape(spec, target), self.blocking(spec, target)
        g = np.array([[float(x) for x in row] for row in winograd(self.outputs).g])
        spread = np.einsum("ia,ocab,jb->ijco", g, weights.astype(np.float64), g, optimize=True)
        padded = np.zeros((shape.positions, shape.channels, shape.filters), np.float32)
        spread = spread.reshape(shape.positions, spec.channels, spec.filters)
        padded[:, : spec.channels, : spec.filters] = spread
        width = blocking.vectors * target.lanes
        ranges, chunks = shape.filters // blocking.filters, shape.channels // blocking.channels
        split = padded.reshape(shape.positions, chunks, blocking.channels, ranges, -1, width)
        packed = np.ascontiguousarray(split.transpose(3, 1, 0, 4, 2, 5))
        return (packed, *pack_bias(bias, spec.filters, target.lanes))

    def kernel(self, spec: ConvSpec, target: Target) -> Kernel:
        shape, blocking = self._shape(spec, target), self.blocking(spec, target)
        key = KernelSpec(self.name, spec, blocking, target.lanes)
        build = partial(_build, shape, blocking)
        return Kernel(self.name, key, build, shape.tasks(blocking), shape.workspace(blocking))

    def blocking(self, spec: ConvSpec, target: Target) -> Blocking:
        return cheapest(_costs(self._shape(spec, target), target), spec.workspace_limit)

    def _shape(self, spec: ConvSpec, target: Target) -> Shape:
        return Shape(replace(spec, workspace_limit=None), self.outputs, target.lanes)


def _build(shape: Shape, blocking: Blocking) -> object:
    from .float32_nest import build

    return build(shape, blocking, winograd(shape.outputs))


WINOGRAD = tuple(WinogradConv(f"winograd{m}", m) for m in (2, 4, 6))
