"""8-bit convolution by products that add up in place, kn2row: weights are read once for a strip of rows.

A task has a strip of output rows of a group of filters. For every tap, or the taps of
a kernel row together, a matrix product of its weights and the image is added to the
int32 sums of the strip, which lie in the workspace; taps beside the image are left out.
The weights of one pass stay in the first-level cache while the strip is gone through.

Channels lie in blocks of 16, as a dot product takes four of them side by side: row-major
bytes would be shuffled into quads for every tap and used for a few filters only. After Anderson,
Vasudevan, Keane and Gregg, "Low-memory GEMM-based convolution algorithms for deep
neural networks" (2017).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

from numpy.typing import NDArray

from ...kernel import Kernel
from ...targets.target import Target
from ...vector.dot import QUAD
from ..operator import Cost
from ..specs import Floats, layout_block, up
from .arithmetic import Arithmetic, arithmetic_of
from .im2row_int8 import packed_taps
from .int8 import LinearConvolution
from .int8_spec import LinearSpec
from .plan import KernelSpec, Run, even_split, row_runs, step_cycles
from .planned import Planned

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


@dataclass(frozen=True)
class LinearKn2row(Planned[LinearSpec, Plan]):
    """Any kernel, stride, dilation and padding; one group."""

    name: str = "kn2row"

    def applicable(self, spec: LinearSpec, target: Target) -> str | None:
        if spec.wide:
            return f"a kernel {spec.kernel[1]} columns wide takes too much code"
        return super().applicable(spec, target)

    def layouts(self, spec: LinearSpec, target: Target) -> tuple[tuple[str, str], ...]:
        return (spec.blocked_layouts(target),)

    def plans(self, spec: LinearSpec, target: Target) -> dict[Plan, Cost]:
        return _costs(spec, target)

    def pack(
        self, spec: LinearSpec, target: Target, weights: Array, bias: Floats | None
    ) -> tuple[Array, ...]:
        channels = up(spec.channels, layout_block(spec.in_layout))
        return (packed_taps(spec, target, weights, channels, self.plan(spec, target).vectors),)

    def kernel(self, spec: LinearSpec, target: Target) -> Kernel:
        from .kn2row_int8_nest import build

        plan, arithmetic, name = self.plan(spec, target), arithmetic_of(spec, target), f"linear_{self.name}"
        groups = spec.filter_vectors(target.lanes) // plan.vectors
        tasks = spec.batch * groups * -(-spec.out_height // plan.rows)
        key = KernelSpec(name, spec, plan, target.lanes)
        return Kernel(name, key, partial(build, spec, plan, arithmetic), tasks, self.workspace(spec, target))


def _costs(spec: LinearSpec, target: Target) -> dict[Plan, Cost]:
    """Of every plan; how results are rounded and masked makes no difference."""
    ending = replace(spec.ending, filters=0, saturates=False, converts=False)
    return _costs_of(replace(spec, workspace_limit=None, border=False, ending=ending), target)


@lru_cache(maxsize=512)
def _costs_of(spec: LinearSpec, target: Target) -> dict[Plan, Cost]:
    return {
        plan: Cost(
            _seconds(spec, plan, target),
            QUAD * plan.rows * spec.out_width * plan.vectors * target.lanes,
        )
        for plan in _plans(spec, target)
    }


def _plans(spec: LinearSpec, target: Target) -> Iterator[Plan]:
    arithmetic, blocks = arithmetic_of(spec, target), spec.filter_vectors(target.lanes)
    weights = up(spec.channels, layout_block(spec.in_layout)) * blocks * target.lanes
    far = weights * spec.kernel[0] * spec.kernel[1] > target.l2_bytes // 2
    for vectors in (v for v in (1, 2, 3, 4) if blocks % v == 0):
        widest = arithmetic.tile_pixels(target.isa.vector_registers, vectors)
        pixels = even_split(spec.out_width, widest)[0]
        parts = spec.batch * blocks // vectors
        for rows in _strip_rows(spec, -(-_TASKS // parts)):
            for columns in {1, spec.kernel[1]}:
                lines = columns * layout_block(spec.in_layout) * vectors * target.lanes // _LINE
                ahead = -(-lines // (rows * -(-spec.out_width // pixels))) if far else 0
                yield Plan(pixels, vectors, columns, rows, ahead)


def _strip_rows(spec: LinearSpec, strips: int) -> set[int]:
    """Rows of strips of which there are at least about `strips`."""
    highest = -(-spec.out_height // min(strips, spec.out_height))
    wanted = (min(highest, max(1, most // spec.out_width)) for most in _PIXELS)
    return {even_split(spec.out_height, rows)[0] for rows in wanted}


def runs_of(spec: LinearSpec, plan: Plan) -> list[Run]:
    """A row of the result in tiles."""
    return row_runs(spec, 0, spec.out_width, plan.pixels)


def _seconds(spec: LinearSpec, plan: Plan, target: Target) -> float:
    arithmetic, quads = arithmetic_of(spec, target), up(spec.channels, layout_block(spec.in_layout)) // QUAD
    groups = spec.filter_vectors(target.lanes) // plan.vectors
    first = sum(
        _tile_cycles(spec, plan, run, quads, (arithmetic, target), True) for run in runs_of(spec, plan)
    )
    later = sum(
        _tile_cycles(spec, plan, run, quads, (arithmetic, target), False) for run in runs_of(spec, plan)
    )
    strips = -(-spec.out_height // plan.rows)
    passes = spec.kernel[0] * (strips * first + (spec.out_height - strips) * later)
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


PRIMITIVES = (LinearConvolution(LinearKn2row()),)
