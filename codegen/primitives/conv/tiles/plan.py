"""How a convolution by tiles is cut into strips, how a strip's image is copied, and what that costs.

The copy has a pixel's channels side by side, so that a row of a tile is a pixel's part of a tap, and rows of
a tile are successive output pixels: also those of the next output row, for rows follow each other without a
gap. What lies between their ends is multiplied for nothing; padding behind a row serves as that before the
next. With a stride, image rows lie apart by their number modulo it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

from ....rounding import up
from ....targets.isa import Tiles
from ....targets.target import Target
from ....vector.tiles import SHAPES_BYTES
from ...operator import Cost
from ...specs import ConvSpec, layout_block

_SETS = 1024  # bytes that pixels must not be a multiple of apart, or they share cache sets
_PIECE = 2.1  # cycles of copying a block of channels of a pixel
_ROW = 20.0  # of a row's beginning
_ENDING = 6.0  # of the result of one vector
_CALL = 2500.0  # of configuring, and of the first products
_BLOCK = 60.0  # of the first and the last products of a block
_RATE = 32.0  # bytes a cycle that tiles get from the second-level cache
_NEAR = 48.0  # and from the first
_FEW = 4  # tasks at least, where filters can be shared out


@dataclass(frozen=True)
class Strip:
    """Output rows of a task, and parts of the filters."""

    rows: int
    splits: int


@dataclass(frozen=True)
class Copied:
    """How the image of `rows` output rows lies: [row modulo stride][row][column][channel], in bytes."""

    spec: ConvSpec
    rows: int
    tiles: Tiles

    @property
    def block(self) -> int:
        """Channel lanes of the image's layout."""
        return layout_block(self.spec.in_layout)

    @cached_property
    def blocks(self) -> int:
        return up(self.spec.channels, self.block) // self.block

    @property
    def depth(self) -> int:
        """Bytes of a pixel."""
        return self.blocks * self.block

    @cached_property
    def apart(self) -> bool:
        """Whether taps of a kernel row are multiplied one by one, else as they lie side by side."""
        return self.depth % self.tiles.row_bytes == 0 or self.spec.dilations[1] > 1

    @cached_property
    def pitch(self) -> int:
        """Bytes from a pixel to the next."""
        return self.depth + (self.tiles.row_bytes if self.depth % _SETS == 0 else 0)

    @cached_property
    def skip(self) -> int:
        """Columns of the image from one that is copied to the next."""
        return self.spec.strides[1] if self.spec.kernel[1] == 1 else 1

    @cached_property
    def stride(self) -> int:
        """Copied columns from an output pixel to the next."""
        return self.spec.strides[1] // self.skip

    @cached_property
    def left(self) -> int:
        """Columns of padding before a row."""
        return -(-self.spec.pads[1] // self.skip)

    @cached_property
    def needed(self) -> int:
        """Columns that an output row reads."""
        return (self.spec.out_width - 1) * self.stride + (self.spec.span(1) if self.skip == 1 else 1)

    @cached_property
    def end(self) -> int:
        """Behind the last column that is read of the image."""
        return min(self.needed, -(-(self.spec.pads[1] + self.spec.width) // self.skip))

    @cached_property
    def pixels(self) -> int:
        """Output pixels from one row to the next."""
        return max(self.spec.out_width, -(-max(self.end, self.needed - self.left) // self.stride))

    @property
    def width(self) -> int:
        """Columns from one row to the next."""
        return self.pixels * self.stride

    @cached_property
    def phases(self) -> int:
        """Numbers of image rows modulo the stride."""
        spec = self.spec
        return 1 + max(kh * spec.dilations[0] % spec.strides[0] for kh in range(spec.kernel[0]))

    @cached_property
    def lines(self) -> int:
        """Image rows of a phase."""
        return self.rows + (self.spec.span(0) - 1) // self.spec.strides[0]

    @cached_property
    def plane(self) -> int:
        """Bytes of a phase: the last row has its own padding behind it."""
        columns = self.lines * self.width + max(0, self.needed - self.width)
        return up(columns * self.pitch, self.tiles.row_bytes)

    @property
    def run(self) -> int:
        """Bytes that are multiplied side by side."""
        return self.depth if self.apart else self.spec.kernel[1] * self.depth

    @property
    def chunks(self) -> int:
        """Products of a run; the last may go too far, with weights of zero."""
        return -(-self.run // self.tiles.row_bytes)

    @property
    def runs(self) -> int:
        """Of a kernel row."""
        return self.spec.kernel[1] if self.apart else 1

    @property
    def steps(self) -> int:
        """Products of a sum."""
        return self.spec.kernel[0] * self.runs * self.chunks

    @cached_property
    def bytes(self) -> int:
        """Up to the last that a tile reads."""
        spec, rows = self.spec, up(self.rows * self.pixels, self.tiles.rows)
        last = (spec.kernel[0] - 1) * spec.dilations[0]
        line = last // spec.strides[0] * self.width + (self.runs - 1) * spec.dilations[1]
        far = line + (rows - 1) * self.stride
        reach = (self.phases - 1) * self.plane + far * self.pitch + self.chunks * self.tiles.row_bytes
        return up(max(reach, self.phases * self.plane), self.tiles.row_bytes)


@dataclass(frozen=True)
class Shape:
    """Tiles of a block of products: so many of pixels by so many of filters."""

    pixels: int
    filters: int

    @property
    def sums(self) -> int:
        return self.pixels * self.filters


def shape_of(vectors: int) -> Shape:
    """For so many tiles of filters: two by two, where there are two."""
    return Shape(2, 2) if vectors > 1 else Shape(4, 1)


def scratch_bytes(tiles: Tiles) -> int:
    """Of the sums of a block."""
    return 4 * tiles.rows * tiles.row_bytes


def workspace(copied: Copied) -> int:
    return SHAPES_BYTES + scratch_bytes(copied.tiles) + copied.bytes


@lru_cache(maxsize=512)
def costs(spec: ConvSpec, target: Target) -> dict[Strip, Cost]:
    """Of strips of so many rows."""
    tiles = target.isa.tiles
    assert tiles is not None, "the instruction set has tiles"
    found = {}
    for rows in sorted({-(-spec.out_height // n) for n in range(1, spec.out_height + 1)}):
        strip = _strip(spec, rows, tiles)
        copied = Copied(spec, rows, tiles)
        found[strip] = Cost(_seconds(strip, copied, target), workspace(copied))
    return found


def _strip(spec: ConvSpec, rows: int, tiles: Tiles) -> Strip:
    strips, vectors = spec.batch * -(-spec.out_height // rows), filter_tiles(spec, tiles)
    pairs = vectors // 2 if vectors % 2 == 0 else 1
    wanted = [s for s in (4, 2, 3, 5, 1) if pairs % s == 0]
    splits = next(s for s in wanted if s == 1 or (strips * s <= 2 * _FEW and strips < _FEW))
    return Strip(rows, splits)


def filter_tiles(spec: ConvSpec, tiles: Tiles) -> int:
    return up(spec.filters, tiles.columns) // tiles.columns


def _seconds(strip: Strip, copied: Copied, target: Target) -> float:
    spec, tiles = copied.spec, copied.tiles
    strips = spec.batch * -(-spec.out_height // strip.rows)
    cycles = strips * strip.splits * _copy_cycles(copied) + strips * _product_cycles(copied, target) + _CALL
    results = spec.batch * spec.pixels * filter_tiles(spec, tiles)
    cycles += results * _ENDING
    weights = copied.steps * tiles.rows * tiles.row_bytes * filter_tiles(spec, tiles)
    streamed = weights * (strips if weights > target.l2_bytes // 2 else 1)
    moved = streamed + spec.batch * (spec.channels * spec.height * spec.width)
    moved += spec.batch * spec.result_bytes * spec.filters * spec.pixels
    beyond = max(0.0, moved - target.l2_bytes)
    return cycles / (target.clock_ghz * 1e9) + 0.6 * beyond / (target.far_gbps(beyond) * 1e9) + 2e-6


def _copy_cycles(copied: Copied) -> float:
    pieces = copied.blocks if copied.pitch > copied.block else copied.block / copied.tiles.row_bytes
    return copied.phases * copied.lines * (_ROW + copied.width * pieces * _PIECE)


def _product_cycles(copied: Copied, target: Target) -> float:
    tiles, vectors = copied.tiles, filter_tiles(copied.spec, copied.tiles)
    shape = shape_of(vectors)
    count = -(-copied.rows * copied.pixels // tiles.rows)
    near = copied.bytes + shape.filters * copied.steps * 1024 <= target.l1_bytes
    steps = copied.steps
    blocks = count // shape.pixels * (_BLOCK + steps * _step(shape, tiles, near))
    blocks += count % shape.pixels * (_BLOCK + steps * _step(Shape(1, shape.filters), tiles, near))
    return blocks * -(-vectors // shape.filters)


def _step(shape: Shape, tiles: Tiles, near: bool) -> float:
    loaded = (shape.pixels + shape.filters) * tiles.rows * tiles.row_bytes
    return max(shape.sums * tiles.cycles, tiles.latency, loaded / (_NEAR if near else _RATE))
