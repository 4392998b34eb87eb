"""How row-major kn2row is cut into register tiles and strips, and what that costs: numbers, no code."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ....targets.target import Target
from ...operator import Cost
from ...specs import ConvSpec
from ..plan import even_split, largest_part

_MOST_FILTERS = 8  # of a register tile: more leave too few vectors to hide what a load costs
_SPARE = 2  # registers beside sums, pixels and weights
_LATENCY = 4.0  # cycles until a sum can be added to again
_L2_RATE = 14.0  # bytes a cycle from the second-level cache, a few lines of every channel
_STREAMS = 16  # channels that a processor's own prefetching follows
_AHEAD = 2  # channels
_PASS = 20.0  # cycles of a tile and kernel row besides its sums and products
_ROWS = 8  # of a strip at most

Moves = tuple[int | None, ...]


@dataclass(frozen=True)
class Plan:
    """A register tile of `filters` by at most `vectors` of `lanes` columns; a task's strip has `rows`.

    `aside` tells that sums lie in the workspace between kernel rows; the image is asked for
    `ahead` channels before it is read.
    """

    lanes: int
    filters: int
    vectors: int
    rows: int
    aside: bool
    ahead: int


@dataclass(frozen=True)
class Tiles:
    """`count` tiles of `size` vectors from column `start` on; the last vector of each has `width` columns.

    `moves[kw][v]` is how many columns beside its tap vector v is loaded, to stay inside the
    image, or None where the tap sees none of it.
    """

    start: int
    count: int
    size: int
    width: int
    moves: tuple[Moves, ...]


@lru_cache(maxsize=512)
def plans(spec: ConvSpec, target: Target) -> dict[Plan, Cost]:
    """The tile of least estimated time; it takes no workspace, or the sums of a strip in whole vectors."""
    tiles = [_of_filters(spec, target, f) for f in range(1, min(_MOST_FILTERS, spec.filters) + 1)]
    plan = min(tiles, key=lambda plan: _cycles(spec, plan, target))
    seconds = _cycles(spec, plan, target) / (target.clock_ghz * 1e9) + _traffic(spec, plan, target) + 2e-6
    columns = -(-spec.out_width // plan.lanes) * plan.lanes
    return {plan: Cost(seconds, 4 * plan.rows * plan.filters * columns if plan.aside else 0)}


def _of_filters(spec: ConvSpec, target: Target, filters: int) -> Plan:
    """Vectors no longer than a row of the image, as many as the registers hold beside one of each filter."""
    lanes = min(target.lanes, 1 << (spec.width.bit_length() - 1))
    vectors = max(1, (target.isa.vector_registers - _SPARE - filters) // (filters + 1))
    vectors = largest_part(-(-spec.out_width // lanes), vectors)
    aside = "full" in spec.extras and spec.kernel[0] > 1
    ahead = _AHEAD if spec.channels > _STREAMS else 0
    return Plan(lanes, filters, vectors, _rows(spec, target, filters), aside, ahead)


def _rows(spec: ConvSpec, target: Target, filters: int) -> int:
    """One, where a group's weights stay in the first-level cache; else as many as keep the image near."""
    weights = 4 * filters * spec.channels * spec.kernel[0] * spec.kernel[1]
    if weights <= target.l1_bytes // 2:
        return 1
    row = 4 * spec.channels * spec.width
    fitting = min(
        target.l2_bytes // 2 // row - spec.kernel[0], target.l1_bytes // 4 // (4 * filters * spec.out_width)
    )
    return largest_part(spec.out_height, max(1, min(fitting, _ROWS, spec.out_height // 4)))


def row_tiles(spec: ConvSpec, plan: Plan) -> tuple[Tiles, ...]:
    """A row of the result cut into tiles; neighbours with equal moves joined."""
    row = _Row(spec.width, spec.out_width, spec.kernel[1], spec.pads[1], spec.dilations[1])
    return _tiles(row, plan.lanes, plan.vectors)


@dataclass(frozen=True)
class _Row:
    """Of the image and of the result: what the tiles depend on."""

    width: int
    out_width: int
    taps: int
    pad: int
    dilation: int

    def move(self, column: int, kw: int, lanes: int) -> int | None:
        """How far the vector of a tap at output column `column` is moved to lie inside the image's row."""
        origin = column - self.pad + kw * self.dilation
        move = min(max(origin, 0), self.width - lanes) - origin
        return move if abs(move) < lanes else None


@lru_cache(maxsize=512)
def _tiles(row: _Row, lanes: int, vectors: int) -> tuple[Tiles, ...]:
    found: list[Tiles] = []
    first = 0
    for size in even_split(-(-row.out_width // lanes), vectors):
        starts = [(first + v) * lanes for v in range(size)]
        width = min(lanes, row.out_width - starts[-1])
        moves = tuple(tuple(row.move(start, kw, lanes) for start in starts) for kw in range(row.taps))
        last = found[-1] if found else None
        if last and (last.size, last.width, last.moves) == (size, width, moves):
            found[-1] = Tiles(last.start, last.count + 1, size, width, moves)
        else:
            found.append(Tiles(starts[0], 1, size, width, moves))
        first += size
    return tuple(found)


def _cycles(spec: ConvSpec, plan: Plan, target: Target) -> float:
    """Of all tiles: products, loads of image and weights, and sums on their way between kernel rows."""
    whole, rest = divmod(spec.filters, plan.filters)
    groups = [(plan.filters, whole), (rest, 1 if rest else 0)]
    row = sum(
        count * tiles.count * _tile_cycles(spec, plan, tiles, filters, target)
        for tiles in row_tiles(spec, plan)
        for filters, count in groups
        if count
    )
    return spec.batch * spec.out_height * spec.kernel[0] * row


def _tile_cycles(spec: ConvSpec, plan: Plan, tiles: Tiles, filters: int, target: Target) -> float:
    """Of one kernel row."""
    crossing = 1 + 0.75 * plan.lanes / 16  # loads that take two cache lines count twice
    step = 0.0
    for moves in tiles.moves:
        seen = [move for move in moves if move is not None]
        multiply = filters * len(seen) / target.fma_per_cycle
        load = (len(seen) * crossing + filters) / 2 + sum(1 for move in seen if move) / 2
        step += max(multiply, load, _LATENCY if seen else 0.0) + 0.3 * load
    image = 4 * spec.channels * tiles.size * plan.lanes
    weights = 4 * spec.channels * spec.kernel[1] * filters
    beyond = (image + weights) / _L2_RATE if image + weights > target.l1_bytes * 3 // 4 else 0.0
    sums = filters * tiles.size * (2.5 + (tiles.width < plan.lanes) * 3 / tiles.size)
    ending = filters * tiles.size * (2 + 2 * len(spec.epilogue)) / spec.kernel[0]
    return max(spec.channels * step, beyond) + 0.3 * beyond + sums + ending + _PASS


def _traffic(spec: ConvSpec, plan: Plan, target: Target) -> float:
    """Seconds that reading the image and writing the result add, where they leave the second-level cache."""
    image = 4 * spec.channels * spec.height * spec.width
    again = -(-spec.filters // plan.filters) if image > target.l2_bytes // 2 else 1
    result = 4 * spec.filters * spec.pixels
    beyond = max(0.0, image * again + result - target.l2_bytes)
    return 0.6 * spec.batch * beyond / (target.far_gbps(beyond) * 1e9)
