"""Winograd convolution F(m x m, 3 x 3) in floats, one fused kernel per block of tiles."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache, partial
from math import prod
from typing import Any

import numpy as np

from secateur.codegen.kernel import Kernel
from secateur.codegen.targets.target import Cpu, Target
from secateur.ir.filters import Matrix, transformed_filters

from ....rounding import up
from ....weights.origin import Origin, places_of
from ...operator import Array, Cost
from ...specs import ConvSpec, Floats
from ..arithmetic import float_arithmetic
from ..plan import largest_part
from ..planned import Planned
from ..rows_by_element import LEG, RowsByElement, by_rows
from ..tile import pack_bias
from .arithmetic import FloatArithmetic
from .grid import TileGrid
from .nest import kernel_of
from .phases import phased
from .plan import Blocking, Numbers, Shape, costs, far_gbps
from .transforms import cycles_of

_SHARE = 0.66  # of the second-level cache for what a task keeps
_POSITION = 0.25  # of that cache for the numbers of one position, where not all positions' stay
_TASK = 20_000_000  # products from which a task is cut, until there is one for each core of a board:
_CORES = 4
# Cycles of a register tile before its first product and after its last, and of each of its sums; of streams:
_BEGINNING, _SUM = (10.0, 2.0), (3.0, 1.0)
_HELD_UP, _HIGH = 0.42, 8  # share of a step that loads hold up, of so many rows; in order, on a Cortex-A53
_NEAR = 2.5  # times the memory's bandwidth, where all that streams fits the cache
_FEW_CHANNELS = 4  # of an image, whose phases or channels are put into vectors one by one
_AHEAD = 2  # panels of weights between what is read and what is asked for

# Relative error power of F(m x n, 3x3) beyond direct sums: in any layer, and for each input channel. As
# measured on rectified white noise with 16 to 512 channels (`winograd_noise.py` of the tests), at vectors of
# 4, 8 and 16 floats alike; of images, whose neighbours resemble each other, about half. Direct sums have
# 1.4e-15 for each channel and F(2, 3), whose sums are shorter, half of that.
_NOISE = {
    (2, 2): (0.0, 0.0),
    (4, 2): (2e-14, 3e-15),
    (4, 4): (3e-13, 2.1e-14),
    (5, 5): (6e-13, 5.2e-14),
    (6, 6): (8e-13, 8.2e-14),
    (7, 7): (1.5e-11, 6e-13),
}
_HALF_NOISE = {
    (2, 2): (1e-6, 4.5e-8),
    (4, 2): (2e-6, 1.2e-7),
    (4, 4): (3e-6, 3.2e-7),
    (5, 5): (1e-5, 2.2e-6),
    (6, 4): (1.5e-5, 1.5e-6),
}
"""In binary16, all of it, by channels of a sum, as compiled kernels have it: direct sums have about 1e-7 for
each, F(6, 3) too much."""

_STRIDED_NOISE = {4: (0.0, 1.5e-15), 6: (3e-13, 7e-14), 8: (2e-12, 4e-13)}
_HALF_STRIDED_NOISE = {4: (4e-7, 1.8e-7), 6: (4e-6, 2.2e-6), 7: (1.2e-5, 6.5e-6)}
"""The same of kernels of stride 2 by products of a tile, of 3x3, 5x5 and 7x7 within a factor of 2."""


class FloatShape(Shape[FloatArithmetic]):
    """Of floats."""

    @cached_property
    def given(self) -> int:
        """Channels that have weights, where one pass takes all."""
        return self.spec.channels * self.phases if self.scattered else self.channels

    def panel_channels(self, blocking: Blocking) -> int:
        products, blocks = self.arithmetic.products, blocking.channels // self.lanes
        one_pass = isinstance(products, RowsByElement) and blocks == products.in_line(blocks)
        return self.given if one_pass and blocking.channels == self.channels else blocking.channels

    def legs(self, blocking: Blocking) -> int:
        """Of binary16, whose sums lose the more the longer they are: of `LEG` channels at most."""
        products = self.arithmetic.products
        if not isinstance(products, RowsByElement) or products.data == "float32":
            return 0
        blocks = blocking.channels // self.lanes
        passes = blocks // products.in_line(blocks)
        return next((n for n in _divisors(passes) if blocking.channels <= n * LEG), passes)

    def cycles(self, blocking: Any, target: Target) -> Any:
        lanes = self.lanes
        ranges = self.ranges(blocking)
        vector_tiles = self.positions * self.tiles / lanes
        products = self._products_cycles(blocking, target)
        products += vector_tiles * self.filters * self.chunks(blocking) * self._ends(*_SUM)
        products *= self.used(blocking.rows)
        read, written = self._transforms(target)
        transforms = self.tiles / lanes * (read * ranges * self.channels + written * self.filters)
        size = float(self.number_bytes)
        streamed = size * self.positions * self.channels * self.filters * self.blocks(blocking)
        transformed = 2 * size * ranges * self.tiles * self.positions * self.channels
        if target.isa.by_element:
            kept = blocking.tiles * (blocking.channels + blocking.filters)
            sums = 2 * size * self.chunks(blocking) * self.tiles * self.positions * self.filters
            streamed += (transformed + sums) * (kept > self._room(target))
        else:
            streamed += transformed
        near = streamed < target.l2_bytes / 2
        rate = far_gbps(streamed, target) * np.where(near, _NEAR, 1.0) / target.clock_ghz
        streaming = streamed / rate
        computing = products + transforms
        return np.maximum(computing, streaming) + 0.5 * np.minimum(computing, streaming)

    def step_cycles(self, rows: Any, vectors: Any, target: Target) -> Any:
        """Loads hold up a core that starts in order for as long in a low register tile as in a high one."""
        step = super().step_cycles(rows, vectors, target)
        if not target.cpu.in_order:
            return step
        high = super().step_cycles(_HIGH, 2, target)
        return step + _HELD_UP * (high - step)

    def _transforms(self, target: Target) -> tuple[float, float]:
        """Cycles for each vector's tile and for that of its products; without streams as measured on x86,
        where large tiles do not fit the registers."""
        if target.isa.streams:
            return cycles_of(self, self.arithmetic, self.scattered, target)
        inner = prod(extent - 2 for extent in self.extent)
        read, written = 3.0 + 0.27 * inner, 2.0 + 0.2 * inner
        each = 0.75 / target.fma_per_cycle if target.isa.by_element else 1.0
        return self.positions * each * read, self.positions * each * written

    def _products_cycles(self, blocking: Any, target: Target) -> Any:
        """Of all register tiles, but for what each of their sums takes."""
        rows, vectors, chunks = blocking.rows, blocking.vectors, self.chunks(blocking)
        groups = self.positions * self.filters // self.width(blocking)

        def cycles(tiles: Any, several: Any) -> Any:
            step = self.step_cycles(several, vectors, target)
            return groups * tiles * (self.given * step + self._ends(*_BEGINNING) * chunks)

        if not isinstance(self.arithmetic.products, RowsByElement):
            return cycles(-(-self.tiles // rows), rows)
        rest = self.tiles % rows
        return cycles(self.tiles // rows, rows) + cycles(rest > 0, rest)

    def _ends(self, plain: float, streams: float) -> float:
        """What surrounds products: of streams it is one block of code with them, and hidden behind them."""
        return streams if isinstance(self.arithmetic.products, RowsByElement) else plain

    def _room(self, target: Target) -> int:
        """Numbers of one position that a task keeps, where those of all stay in the cache."""
        return int(_SHARE * target.l2_bytes) // (self.number_bytes * self.positions)

    def _fitting(self, room: int, channels: int, filters: int) -> int:
        """Tiles of a task, all of whose numbers stay in the cache; of too few 0, but for the smallest."""
        fitting = room // (channels + filters)
        smallest = channels == self.lanes and filters <= 2 * self.lanes
        return max(fitting, 1) if fitting >= min(8, self.tiles) or smallest else 0

    def _stretched(self, target: Target, room: int, channels: int, filters: int) -> int:
        """Tiles of a task whose numbers of one position at a time stay in the cache, while others stream.

        Weights, which stream once for a block, are more than these; 0 where they are not.
        """
        stretched = int(_POSITION * target.l2_bytes) // (self.number_bytes * (channels + filters))
        return stretched if stretched > room // (channels + filters) else 0

    def _rooms(self, target: Target) -> list[Callable[[int, int], int]]:
        """By channels and filters of a task, how many tiles it may have. No x86 was measured stretched."""
        room = self._room(target)
        stretches = target.isa.by_element and self._streams(target)
        stretched = [partial(self._stretched, target, room)] if stretches else []
        return [partial(self._fitting, room), *stretched]

    def _streams(self, target: Target) -> bool:
        """Whether the weights come from beyond the second-level cache for every block of tiles."""
        return 4 * self.positions * self.channels * self.filters > target.l2_bytes

    def _asks(self, target: Target) -> bool:
        """ARM's cores follow a stream of weights that stay in the second-level cache by themselves."""
        return self._streams(target) or not target.isa.by_element

    def blockings(self, target: Target) -> Iterator[Numbers]:
        lanes, rooms = self.lanes, self._rooms(target)
        blocks, chunks = self.filters // lanes, _divisors(self.channels // lanes)
        vectors = 2 if blocks % 2 == 0 else 1
        rows, least = self._rows(target, vectors), self._least(target, vectors)
        ahead = _AHEAD * vectors * lanes if self._asks(target) else 0
        for groups in _divisors(blocks // vectors):
            filters = groups * vectors * lanes
            fewest = -(-least // -(-self.filters // filters))
            for room in rooms:
                for channels in (chunk * lanes for chunk in chunks):
                    for size in _register_tiles(self.tiles, room(channels, filters), rows, fewest):
                        yield *size, vectors, channels, filters, ahead * channels

    def _least(self, target: Target, vectors: int) -> int:
        """Tasks, so that a board's cores share a large layer. No x86 has been measured so."""
        products = self.positions * self.tiles * self.channels * self.filters
        most = self.filters // (vectors * self.lanes)
        return min(-(-products // _TASK), _CORES, most) if target.isa.by_element else 1

    def _rows(self, target: Target, vectors: int) -> tuple[int, ...]:
        """Tiles of a register tile: one more than loads best where all tiles are just as many."""
        products, registers = self.arithmetic.products, target.isa.vector_registers
        best = products.tile_pixels(registers, vectors)
        most = products.most_pixels(registers, vectors) if isinstance(products, RowsByElement) else best
        return (*range(max(1, best // 2), best + 1), *([most] if most == self.tiles > best else []))


@lru_cache(maxsize=1 << 14)
def _register_tiles(
    tiles: int, fitting: int, rows: tuple[int, ...], fewest: int
) -> tuple[tuple[int, int], ...]:
    """Tiles of a block, and of its register tiles, where `fitting` fit: at least the `fewest` blocks."""
    several = ((block, row) for row in rows for block in _blocks_of_tiles(tiles, fitting, row))
    return tuple(pair for pair in several if -(-tiles // pair[0]) >= fewest) if fitting else ()


def _blocks_of_tiles(tiles: int, fitting: int, rows: int) -> tuple[int, ...]:
    """In whole register tiles of `rows`: as many as fit at most, or a share of these."""
    room = max(rows, fitting // rows * rows)
    parts = (largest_part(tiles, max(fitting // share, rows)) for share in (1, 2, 4, 8))
    return tuple(dict.fromkeys(min(up(part, rows), room) for part in parts))


@cache
def _divisors(number: int) -> tuple[int, ...]:
    return tuple(d for d in range(1, number + 1) if number % d == 0)


@dataclass(frozen=True)
class FloatWinograd(Planned[ConvSpec, Blocking]):
    """A kernel of one group, without dilation. With strides it is the sum of its phases: a phase is every
    second row and column of the kernel, say, at those of the image."""

    name: str

    @abstractmethod
    def tile(self, spec: ConvSpec) -> tuple[int, int]:
        """Rows and columns of the result; what `refusal` refuses has none."""

    @abstractmethod
    def noise(self, spec: ConvSpec, target: Target) -> float:
        """Relative error power beyond direct sums; rounded products and their sums grow in the transforms."""

    @abstractmethod
    def refusal(self, spec: ConvSpec, target: Target) -> str | None:
        """Why there is no tile of this kernel."""

    def applicable(self, spec: ConvSpec, target: Target) -> str | None:
        return self.refusal(spec, target) or super().applicable(spec, target)

    def layouts(self, spec: ConvSpec, target: Target) -> tuple[tuple[str, str], ...]:
        source, result = spec.blocked_layouts(target)
        few = target.isa.by_element and spec.channels <= _FEW_CHANNELS
        return (*(((spec.few_channels_layout(), result),) if few else ()), (source, result))

    def plans(self, spec: ConvSpec, target: Target) -> Mapping[Blocking, Cost]:
        return _plans(self, spec.costed(), target)

    def plan_words(self, plan: Blocking) -> dict[str, str]:
        return plan.words

    def tiling_words(self, spec: ConvSpec, target: Target) -> dict[str, str]:
        shape = self.shape(spec, target)
        tile, taps = ("x".join(map(str, sorted({*pair}))) for pair in (shape.tile, shape.taps))
        return {"tile of Winograd": f"F({tile}, {taps})", **super().tiling_words(spec, target)}

    def pack(
        self, spec: ConvSpec, target: Target, weights: Floats, bias: Floats | None
    ) -> tuple[Floats, ...]:
        """G w G^T as [range of filters][chunk of channels][position][group][channel][vector and lane]."""
        shape = self.shape(spec, target)
        spread = transformed_filters(phased(weights, shape), *self.matrices(shape))
        padded = np.zeros((shape.positions, shape.filters, shape.channels), spec.dtype)
        padded[:, : spec.filters, : spread.shape[-1]] = spread.reshape(shape.positions, spec.filters, -1)
        packed = _arranged(shape, self.plan(spec, target), padded)
        return (packed, *pack_bias(bias, spec.filters, target.lanes))

    def matrices(self, shape: FloatShape) -> tuple[Matrix, Matrix]:
        """G of both axes."""
        down, across = map(shape.arithmetic.filters, shape.tile)
        return down, across

    def kernel(self, spec: ConvSpec, target: Target) -> Kernel:
        return kernel_of(self.name, self.shape(spec, target), self.plan(spec, target))

    def shape(self, spec: ConvSpec, target: Target) -> FloatShape:
        taps = TileGrid(spec, (1, 1)).taps[0]
        products = by_rows(target, spec.dtype) or float_arithmetic(target, spec.dtype)
        arithmetic = FloatArithmetic(products, taps)
        whole = spec if spec.workspace_limit is None else replace(spec, workspace_limit=None)
        return FloatShape(whole, self.tile(spec), arithmetic)


@dataclass(frozen=True)
class WinogradConv(FloatWinograd):
    """F(down x across, 3x3): 3x3 kernels, stride 1."""

    outputs: tuple[int, int]

    def tile(self, spec: ConvSpec) -> tuple[int, int]:
        return self.outputs

    def refusal(self, spec: ConvSpec, target: Target) -> str | None:
        if spec.kernel != (3, 3) or spec.strides != (1, 1) or spec.dilations != (1, 1):
            return f"kernel {spec.kernel}, strides {spec.strides}, dilations {spec.dilations}"
        return None if self in WINOGRAD else _unseen(target)

    def noise(self, spec: ConvSpec, target: Target) -> float:
        fixed, per_channel = (_HALF_NOISE if spec.dtype == "float16" else _NOISE)[self.outputs]
        return fixed + per_channel * _summed(spec, target)

    def origin(self, spec: ConvSpec, target: Target, weights: Floats) -> Origin:
        """Of the weights, wherever among the kernel's arguments they are."""
        shape, blocking = self.shape(spec, target), self.plan(spec, target)
        extents = (shape.positions, shape.filters, shape.channels)
        arrange = partial(_arranged, shape, blocking)
        read = np.arange(shape.chunks(blocking) * shape.panel_channels(blocking))
        return Origin(weights, *self.matrices(shape), places_of(arrange, extents, read))


@dataclass(frozen=True)
class StridedWinograd(FloatWinograd):
    """Kernels of stride 2, in tiles of `extent` products down and across: of 3x3, 5x5 and 7x7, say.

    The four phases of a kernel have half its taps along each axis. All are multiplied at the same points, so
    that they are added before the output's transform: they are channels.
    """

    extent: int

    def tile(self, spec: ConvSpec) -> tuple[int, int]:
        down, across = TileGrid(spec, (1, 1)).taps
        return self.extent + 1 - down, self.extent + 1 - across

    def refusal(self, spec: ConvSpec, target: Target) -> str | None:
        taps = TileGrid(spec, (1, 1)).taps
        if spec.strides != (2, 2) or spec.dilations != (1, 1):
            return f"strides {spec.strides}, dilations {spec.dilations}"
        if taps[0] != taps[1] or not 2 <= taps[0] <= self.extent - 1:
            return f"kernel {spec.kernel}, whose phases have {taps[0]}x{taps[1]} taps"
        return _unseen(target)

    def noise(self, spec: ConvSpec, target: Target) -> float:
        known = _HALF_STRIDED_NOISE if spec.dtype == "float16" else _STRIDED_NOISE
        fixed, per_channel = known[self.extent]
        return fixed + per_channel * _summed(spec, target)


def _summed(spec: ConvSpec, target: Target) -> int:
    """Channels of a sum, which a GPU takes whole."""
    legs = spec.dtype == "float16" and isinstance(target.machine, Cpu) and target.isa.streams
    return min(spec.channels, LEG // prod(spec.strides)) if legs else spec.channels


def _unseen(target: Target) -> str | None:
    """Elsewhere nobody has held its estimates against a machine."""
    return None if target.isa.by_element else f"not for {target.isa.name}"


def _arranged(shape: FloatShape, blocking: Blocking, padded: Array) -> Array:
    """(positions, filters, channels) as `pack` orders them."""
    chunks, ranges, width = shape.chunks(blocking), shape.ranges(blocking), shape.width(blocking)
    split = padded.reshape(shape.positions, ranges, -1, width, chunks, blocking.channels)
    used = split[..., : shape.panel_channels(blocking)]
    return np.ascontiguousarray(used.transpose(1, 4, 0, 2, 5, 3))


@lru_cache(maxsize=512)
def _plans(primitive: FloatWinograd, spec: ConvSpec, target: Target) -> Mapping[Blocking, Cost]:
    return costs(primitive.shape(spec, target), target)


WINOGRAD = tuple(WinogradConv(f"winograd{m}", (m, m)) for m in (2, 4, 6))
ODD = WinogradConv("winograd5", (5, 5))
"""Images of 13 to 15 and 55 rows are few of these."""
LARGE = WinogradConv("winograd7", (7, 7))
"""Of 14, 28, 56, 112 and 224 rows none is left over."""
OBLONG = WinogradConv("winograd4x2", (4, 2))
TALL = WinogradConv("winograd6x4", (6, 4))
"""Of binary16, which loses too much with 6 on both axes."""
STRIDED = tuple(StridedWinograd(f"strided_winograd{n}", n) for n in (4, 6, 8))
STRIDED_ODD = StridedWinograd("strided_winograd7", 7)
"""Of binary16, which loses too much with 8."""
HALVES: tuple[FloatWinograd, ...] = (
    *(primitive for primitive in (*WINOGRAD, ODD, LARGE, OBLONG, TALL) if primitive.outputs in _HALF_NOISE),
    *(primitive for primitive in (*STRIDED, STRIDED_ODD) if primitive.extent in _HALF_STRIDED_NOISE),
)
"""Those of binary16."""
