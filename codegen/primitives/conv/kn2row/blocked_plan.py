"""How blocked kn2row is cut into register tiles and strips, and what that costs: numbers, no code."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from numpy.typing import NDArray

from ....rounding import up
from ....targets.target import Target
from ....vector.dot import QUAD
from ...operator import Cost
from ...specs import layout_block
from ..arithmetic import Arithmetic, arithmetic_of
from ..int8_spec import LinearSpec
from ..plan import Run, largest_part, row_runs, seen_taps, step_cycles
from ..rows_of_bytes import by_streams

Array = NDArray[Any]

_PIXELS = (392, 196, 98, 49, 1)  # of a strip, about: a small image ... one row
_TASKS = 8  # to share among threads, where there are as many rows
_LINE = 64


@dataclass(frozen=True)
class Plan:
    """Register tile of at most `pixels` by `vectors`, `columns` of the kernel in a pass, `rows` of a strip.

    `ahead` is how many lines of the next pass's weights each block of channels asks for.
    """

    pixels: int
    vectors: int
    columns: int
    rows: int
    ahead: int


@lru_cache(maxsize=512)
def plans(spec: LinearSpec, target: Target) -> dict[Plan, Cost]:
    """Every plan and what it costs."""
    return {
        plan: Cost(
            _seconds(spec, plan, target),
            QUAD * plan.rows * spec.out_width * plan.vectors * target.lanes,
        )
        for plan in _plans(spec, target)
    }


def tap_arithmetic(spec: LinearSpec, target: Target) -> Arithmetic:
    """What a tap is multiplied by."""
    return by_streams(arithmetic_of(spec, target), target)


def _plans(spec: LinearSpec, target: Target) -> Iterator[Plan]:
    arithmetic, blocks = tap_arithmetic(spec, target), spec.filter_groups(target.lanes, 1)
    weights = up(spec.channels, layout_block(spec.in_layout)) * blocks * target.lanes
    far = weights * spec.kernel[0] * spec.kernel[1] > target.l2_bytes // 2
    for vectors in spec.tile_vectors(target.lanes):
        widest = arithmetic.tile_pixels(target.isa.vector_registers, vectors)
        pixels = largest_part(spec.out_width, widest)
        parts = spec.batch * spec.filter_groups(target.lanes, vectors)
        for rows in _strip_rows(spec, -(-_TASKS // parts)):
            for columns in {1, spec.kernel[1]}:
                lines = columns * layout_block(spec.in_layout) * vectors * target.lanes // _LINE
                ahead = -(-lines // (rows * -(-spec.out_width // pixels))) if far else 0
                yield Plan(pixels, vectors, columns, rows, ahead)


def _strip_rows(spec: LinearSpec, strips: int) -> set[int]:
    """Rows of strips of which there are at least about `strips`."""
    highest = -(-spec.out_height // min(strips, spec.out_height))
    wanted = (min(highest, max(1, most // spec.out_width)) for most in _PIXELS)
    return {largest_part(spec.out_height, rows) for rows in wanted}


def runs_of(spec: LinearSpec, plan: Plan) -> list[Run]:
    """A row of the result in tiles."""
    return row_runs(spec, 0, spec.out_width, plan.pixels)


def _seconds(spec: LinearSpec, plan: Plan, target: Target) -> float:
    arithmetic, quads = tap_arithmetic(spec, target), up(spec.channels, layout_block(spec.in_layout)) // QUAD
    groups = spec.filter_groups(target.lanes, plan.vectors)
    first = sum(
        _tile_cycles(spec, plan, run, quads, (arithmetic, target), True) for run in runs_of(spec, plan)
    )
    later = sum(
        _tile_cycles(spec, plan, run, quads, (arithmetic, target), False) for run in runs_of(spec, plan)
    )
    strips = -(-spec.out_height // plan.rows)
    passes = seen_taps(spec, 0) * spec.kernel[0] * (strips * first + (spec.out_height - strips) * later)
    ends = spec.pixels * plan.vectors * (arithmetic.ending + 8)
    cycles = 0.92 * spec.batch * groups * (passes + ends)
    return cycles / (target.clock_ghz * 1e9) + _traffic(spec, quads, target) + 2e-6


def _tile_cycles(
    spec: LinearSpec, plan: Plan, run: Run, quads: int, on: tuple[Arithmetic, Target], first: bool
) -> float:
    """Of a run of tiles for one kernel row; a strip's first row has weights from the second-level cache."""
    arithmetic, target = on
    steps = quads * plan.columns
    panel = max(steps, target.l2_bytes // 2 // (plan.vectors * target.isa.vector_bytes)) if first else steps
    taps = sum(
        step_cycles(last - start, plan.vectors, panel, target, arithmetic) for _, start, last in run.taps
    )
    passes = spec.kernel[1] // plan.columns
    return run.tiles * (quads * taps + passes * (4.0 * run.size * plan.vectors + 25))


def _traffic(spec: LinearSpec, quads: int, target: Target) -> float:
    """Seconds that streaming from beyond the second-level cache adds; the products hide a part of it."""
    weights = quads * QUAD * spec.kernel[0] * spec.kernel[1] * spec.filters
    image = spec.channels * spec.height * spec.width
    again = -(-spec.filters // 64) if image > target.l2_bytes // 2 else 1
    streamed = weights + spec.batch * (image * again + spec.result_bytes * spec.filters * spec.pixels)
    return 0.6 * max(0.0, streamed - target.l2_bytes) / (target.far_gbps(streamed) * 1e9)
