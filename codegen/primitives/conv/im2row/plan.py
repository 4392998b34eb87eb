"""How im2row cuts a convolution into strips of pixels, and what that costs: numbers, no code.

Floats are copied a few input blocks at a time, in whole vectors, so that the sums of a strip wait in the
workspace in between; a quarter of their size, bytes are copied whole, pixel after pixel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from numpy.typing import NDArray

from ....rounding import up
from ....targets.target import Target
from ....vector.dot import QUAD
from ....vector.requantize import BLOCK
from ...operator import Cost
from ...specs import ConvSpec, layout_block, seconds
from ..arithmetic import Arithmetic, float_arithmetic
from ..matrix import copied_offset, strip_arithmetic
from ..plan import choose_vectors, step_cycles
from ..sums_of_channels import SumsOfChannels

Array = NDArray[Any]

LINE = 64  # bytes of a cache line

_PIXELS = 196  # of a strip: enough that streaming weights costs little beside the products
_PARTS = (2, 4, 8, _PIXELS)  # of it, down to one register tile, where memory is dear
_MANY_FILTERS = 256  # are shared out where there are few strips
_RATE = 0.5  # vectors a cycle from the second-level cache: weights of each strip, sums between chunks
_COPY = 1.5  # cycles of copying a piece of bytes
_CENTRE = 0.5  # and of making it signed
_TAP = 2.0  # cycles of finding one


@dataclass(frozen=True)
class Strip:
    """Pixels of a task (whole tiles of `rows`), register tile, input blocks a sum, parts of the filters.

    Each block of code asks for `ahead` cache lines of the next group's weights.
    """

    pixels: int
    rows: int
    vectors: int
    blocks: int
    splits: int
    ahead: int


@lru_cache(maxsize=512)
def costs(spec: ConvSpec, target: Target) -> dict[Strip, Cost]:
    """Of strips from the whole image down to one register tile."""
    planner = planner_of(spec, target)
    amounts = (_PIXELS, spec.pixels, *(_PIXELS // n for n in _PARTS))
    strips = map(planner.strip, dict.fromkeys(min(amount, spec.pixels) for amount in amounts))
    return {strip: Cost(planner.seconds(strip), planner.workspace(strip)) for strip in strips}


def planner_of(spec: ConvSpec, target: Target) -> Planner:
    """By the specification's element type."""
    return _Bytes(spec, target) if spec.element_bytes == 1 else _Floats(spec, target)


class Planner(ABC):
    """The strips of one convolution on one target."""

    splits: tuple[int, ...]  # of the filters where there are few strips, best first

    def __init__(self, spec: ConvSpec, target: Target) -> None:
        self.spec, self.target, self.arithmetic = spec, target, strip_arithmetic(spec, target)
        self.block = layout_block(spec.in_layout)
        self.blocks_in = up(spec.channels, self.block) // self.block
        self.taps = spec.kernel[0] * spec.kernel[1]
        self._known_rows: dict[int, int] = {}

    def groups(self, vectors: int) -> int:
        """Of so many vectors of filters."""
        return self.spec.filter_groups(self.target.lanes, vectors)

    def filters(self, vectors: int) -> int:
        """Of all groups."""
        return self.groups(vectors) * vectors * self.target.lanes

    @abstractmethod
    def pack(self, weights: Array, vectors: int) -> Array:
        """OIHW as groups of `vectors` filter vectors, in the order of the copied taps."""

    @abstractmethod
    def seconds(self, strip: Strip) -> float: ...

    @abstractmethod
    def workspace(self, strip: Strip) -> int:
        """Bytes."""

    @abstractmethod
    def _vectors(self, pixels: int) -> int:
        """Of filters in a register tile."""

    @abstractmethod
    def _work(self, rows: int, vectors: int) -> float:
        """How long the products of an image take with tiles of `rows` pixels, in any unit."""

    @abstractmethod
    def _blocks(self, pixels: int, vectors: int) -> int:
        """Input blocks whose taps are copied at a time."""

    @abstractmethod
    def _ahead(self, tiles: int, vectors: int) -> int:
        """Cache lines to ask for in a block of code, where weights come from afar; `tiles` of a strip do."""

    def strip(self, most: int) -> Strip:
        """Of about `most` pixels."""
        total = self.spec.pixels
        vectors = self._vectors(min(most, total))
        rows = self._rows(vectors)
        pixels = rows * min(-(-total // rows), -(-most // rows))
        few, groups = self.spec.batch * -(-total // pixels) < 4, self.groups(vectors)
        splits = next(s for s in self.splits if s == 1 or (few and groups % s == 0))
        ahead = self._ahead(pixels // rows, vectors)
        return Strip(pixels, rows, vectors, self._blocks(pixels, vectors), splits, ahead)

    def _rows(self, vectors: int) -> int:
        """Pixels of a register tile."""
        if vectors not in self._known_rows:
            widest = self.arithmetic.tile_pixels(self.target.isa.vector_registers, vectors)
            several = range(max(1, widest // 2), widest + 1)
            self._known_rows[vectors] = min(several, key=lambda rows: self._work(rows, vectors))
        return self._known_rows[vectors]

    def _strips(self, strip: Strip) -> int:
        return self.spec.batch * -(-self.spec.pixels // strip.pixels)

    def _beyond(self, streamed: float) -> float:
        """Seconds that streaming from beyond the second-level cache takes; the products hide a part of it."""
        target = self.target
        return max(0.0, streamed - target.l2_bytes) / (target.far_gbps(streamed) * 1e9)


def float_step_cycles(rows: int, vectors: int, target: Target) -> float:
    """Cycles to multiply one tap's channel of `rows` pixels with `vectors` filter vectors, in float32."""
    return rows * vectors / (target.fma_per_cycle * _efficiency(rows, vectors, target))


def _efficiency(rows: int, vectors: int, target: Target) -> float:
    """Of a register tile, as a share of the multiply-adds that the target can do.

    Where elements of vectors are multiplied with, little else is executed, as in a nest that copies nothing.
    """
    if target.isa.by_element:
        step = step_cycles(rows, vectors, 1, target, float_arithmetic(target))
        return rows * vectors / (target.fma_per_cycle * step)
    return 0.8 / max(1.0, 0.45 + 1 / rows + 1 / vectors)


class _Floats(Planner):
    """In chunks whose copied taps fill half of the second-level cache and whose weights a quarter."""

    @property
    def splits(self) -> tuple[int, ...]:  # type: ignore[override]
        return (4, 2, 1) if self.spec.filters >= _MANY_FILTERS else (1,)

    def pack(self, weights: Array, vectors: int) -> Array:
        return self.arithmetic.pack(weights, vectors, self.block, self.filters(vectors))

    def _vectors(self, pixels: int) -> int:
        return 2 if self.groups(1) % 2 == 0 else 1

    def _work(self, rows: int, vectors: int) -> float:
        return up(self.spec.pixels, rows) * (1 + 0.25 / rows)

    def _blocks(self, pixels: int, vectors: int) -> int:
        taps, near = self.block * self.taps * self.spec.element_bytes, self.target.l2_bytes
        fitting = min(near // 2 // (taps * pixels), near // 4 // (taps * vectors * self.target.lanes))
        most = max(1, min(fitting, self.blocks_in))
        return next(b for b in range(most, 0, -1) if self.blocks_in % b == 0)

    def _ahead(self, tiles: int, vectors: int) -> int:
        size = self.spec.element_bytes
        far = size * self.spec.channels * self.spec.filters * self.taps > self.target.l2_bytes // 2
        return -(-vectors * self.arithmetic.width // self.arithmetic.line) if far else 0

    def workspace(self, strip: Strip) -> int:
        """The copied taps, and the sums between chunks of input blocks."""
        copied = strip.blocks * self.block
        between = self.filters(strip.vectors) // strip.splits if copied < self.spec.channels else 0
        return self.spec.element_bytes * strip.pixels * (copied * self.taps + between)

    def seconds(self, strip: Strip) -> float:
        spec, target, lanes = self.spec, self.target, self.target.lanes
        filters = self.filters(strip.vectors)
        taps = self.blocks_in * self.block * self.taps
        pixels, strips = spec.batch * up(spec.pixels, strip.rows), self._strips(strip)
        macs = pixels * taps * filters
        copied = strip.splits * pixels * taps / self.block * lanes * 6.0
        chunks = self.blocks_in // strip.blocks
        summed = (chunks - 1) * pixels * filters / _RATE * target.fma_per_cycle
        near = 0.5 * strips * taps * filters / _RATE * target.fma_per_cycle
        size = float(spec.element_bytes)
        streamed = size * taps * filters * strips
        streamed += 2 * size * pixels * taps if size * strip.pixels * taps / chunks > target.l2_bytes else 0.0
        streamed += size * spec.batch * spec.pixels * (spec.filters + spec.channels)
        busy = macs / _efficiency(strip.rows, strip.vectors, target) + copied + summed + near
        return seconds(target, busy, 1.0, 0) + 0.6 * self._beyond(streamed) + 2e-6


@dataclass(frozen=True)
class Depth:
    """What is copied for a pixel: bytes of a tap, of all taps, and from one pixel to the next.

    Successive pixels must not fall into the same cache sets. `joined` tells that the taps of
    a kernel row lie side by side in the image as well. A step takes `step` bytes; what the last takes
    beyond the taps has weights of zero.
    """

    tap: int
    taps: int
    joined: bool
    step: int

    @property
    def bytes(self) -> int:
        return self.tap * self.taps

    @property
    def stride(self) -> int:
        whole = self.steps * self.step
        return whole + (LINE if whole % 1024 == 0 else 0)

    @property
    def steps(self) -> int:
        return -(-self.bytes // self.step)


def depth(spec: ConvSpec, step: int = QUAD) -> Depth:
    """Of bytes, so many a step."""
    tap = up(spec.channels, QUAD)
    joined = tap == layout_block(spec.in_layout) and spec.dilations[1] == 1
    return Depth(tap, spec.kernel[0] * spec.kernel[1], joined, step)


def pieces(count: int, widest: int) -> list[tuple[int, int]]:
    """(offset, bytes) of the vectors that copy `count` bytes, at least 4; the last may overlap another."""
    width = min(widest, 1 << (count.bit_length() - 1))
    return [(at, width) for at in range(0, count - width + 1, width)] + (
        [(count - width, width)] if count % width else []
    )


def unrolled(steps: int, arithmetic: Arithmetic) -> int:
    """Steps of one block of code."""
    if isinstance(arithmetic, SumsOfChannels):
        return 1
    return max(n for n in (1, 2, 3, 4) if steps % n == 0)


class _Bytes(Planner):
    """All taps at once."""

    splits = (4, 2, 5, 3, 1)  # even ones suit two threads

    def __init__(self, spec: ConvSpec, target: Target) -> None:
        super().__init__(spec, target)
        self.depth = depth(spec, self.arithmetic.step)
        self.steps = self.depth.steps

    def pack(self, weights: Array, vectors: int) -> Array:
        return self.arithmetic.pack_taps(weights, vectors, self.depth.tap, self.filters(vectors))

    def _vectors(self, pixels: int) -> int:
        return choose_vectors(self.spec, pixels, self.steps, self.target, self.arithmetic)

    def _work(self, rows: int, vectors: int) -> float:
        step = step_cycles(rows, vectors, self.steps, self.target, self.arithmetic)
        return -(-self.spec.pixels // rows) * step

    def _blocks(self, pixels: int, vectors: int) -> int:
        return self.blocks_in

    def _ahead(self, tiles: int, vectors: int) -> int:
        """A tile's share of the next group's weights, which all tiles of the strip read."""
        far = self.steps * self.groups(1) * self.arithmetic.width > self.target.l2_bytes // 2
        return (
            -(-unrolled(self.steps, self.arithmetic) * vectors * self.arithmetic.width // LINE // tiles)
            if far
            else 0
        )

    def workspace(self, strip: Strip) -> int:
        return up(strip.pixels * self.depth.stride + BLOCK, LINE)

    def seconds(self, strip: Strip) -> float:
        cycles = self._product_cycles(strip)
        cycles += self.spec.batch * self.spec.pixels * strip.splits * self._copy_cycles()
        return cycles / (self.target.clock_ghz * 1e9) + 0.6 * self._beyond(self._streamed(strip)) + 2e-6

    def _product_cycles(self, strip: Strip) -> float:
        """The first tile of a strip takes every panel of weights from the second-level cache, at best."""
        steps, vectors, target, arithmetic = self.steps, strip.vectors, self.target, self.arithmetic
        groups, strips = self.groups(vectors), self._strips(strip)
        begun = isinstance(arithmetic, SumsOfChannels) and self.taps == 1  # by a tile's first products
        around = 0 if begun else 40
        ending = around + arithmetic.ending * strip.rows * vectors

        def tile(panel: int) -> float:
            return steps * step_cycles(strip.rows, vectors, panel, target, arithmetic) + ending

        all_panels = min(steps * groups, target.l2_bytes // 2 // (vectors * target.isa.vector_bytes))
        others = self.spec.batch * -(-self.spec.pixels // strip.rows) - strips
        return 0.95 * groups * (strips * tile(max(steps, all_panels)) + others * tile(steps))

    def _copy_cycles(self) -> float:
        """Of one pixel."""
        spec, taps = self.spec, self.depth
        copy = _COPY + (_CENTRE if copied_offset(spec, self.target) else 0)
        if taps.joined:
            row = len(pieces(spec.kernel[1] * taps.tap, self.target.isa.vector_bytes))
            return 20.0 + spec.kernel[0] * (row * copy + _TAP)
        return 20.0 + taps.taps * (self.blocks_in * copy + _TAP)

    def _streamed(self, strip: Strip) -> float:
        """Bytes."""
        spec, strips, near = self.spec, self._strips(strip), self.target.l2_bytes
        weights, copied = self.depth.bytes * self.filters(strip.vectors), strip.pixels * self.depth.stride
        streamed = 1.0 * weights * (strips if weights > near // 2 else 1)
        streamed += 2.0 * copied * strips if copied > near else 0.0
        image = spec.channels * spec.height * spec.width
        return streamed + spec.batch * (image + spec.result_bytes * spec.filters * spec.pixels)
