"""How a convolution is cut into register tiles and tasks, and what that costs: numbers, no code.

A row of output pixels becomes runs of tiles with equal sets of valid taps. Which
tile and which order of tasks take the least time follows from counted
operations, loads and bytes.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import gcd
from typing import Any, TypeVar

from ...targets.target import Target
from ..operator import Cost
from ..specs import ConvSpec, WindowSpec
from .arithmetic import Arithmetic, Float32


@dataclass(frozen=True)
class Tiling:
    """Register tile: at most `pixels` by exactly `vectors`; `filters_outer` is the order of tasks.

    `ahead` asks for the next group's weights while this one's are used.
    """

    pixels: int
    vectors: int
    filters_outer: bool = False
    columns: int = 0  # output columns of one task; 0 for the whole row
    ahead: bool = False


@dataclass(frozen=True)
class Run:
    """`tiles` tiles of `size` columns from `start`; `taps` gives (kw, first, last + 1) of valid pixels.

    Of wide kernels there are no `taps`, but whether every pixel sees the `whole` kernel row.
    """

    start: int
    tiles: int
    size: int
    taps: tuple[tuple[int, int, int], ...]
    whole: bool = False


@dataclass(frozen=True)
class KernelSpec:
    """What determines a kernel's code, besides the target's vector length."""

    primitive: str
    operator: Any
    parameters: Any
    lanes: int


_NARROWING = 4.0  # cycles to make bytes of sums, however many are narrowed together
_BORDER = 4  # columns of a tile where taps of a wide kernel leave the image

Plan = TypeVar("Plan")
_LESS = 0.5  # of a faster kernel's workspace is worth a slower one
_SLOWER = 3.0  # times the fastest is no choice any more


def worth_offering(costs: Iterable[Cost]) -> tuple[Cost, ...]:
    """Those that take much less workspace than any faster one, the fastest first."""
    fastest, *others = sorted(costs, key=lambda cost: (cost.seconds, cost.workspace))
    kept = [fastest]
    for cost in others:
        if cost.workspace <= _LESS * kept[-1].workspace and cost.seconds <= _SLOWER * fastest.seconds:
            kept.append(cost)
    return tuple(kept)


def cheapest(costs: Mapping[Plan, Cost], limit: int | None) -> Plan:
    """The fastest within `limit` bytes of workspace; where none is, the one of least workspace."""
    within = [plan for plan, cost in costs.items() if limit is None or cost.workspace <= limit]
    if not within:
        return min(costs, key=lambda plan: costs[plan].workspace)
    return min(within, key=lambda plan: (costs[plan].seconds, costs[plan].workspace))


def even_split(total: int, most: int) -> list[int]:
    """The sizes of the fewest tiles of at most `most` that make up `total`; they differ by at most one."""
    count = -(-total // most)
    size, larger = divmod(total, count)
    return [size + 1] * larger + [size] * (count - larger)


def largest_part(total: int, most: int) -> int:
    """The first, and so the largest, of `even_split`."""
    return -(-total // -(-total // most))


def step_cycles(
    pixels: int, vectors: int, steps: int, target: Target, arithmetic: Arithmetic | None = None
) -> float:
    """Cycles to multiply the input of one step, for each of `pixels` pixels, with `vectors` weight vectors.

    The longest of multiplying, loading and waiting for a sum that is too soon
    needed again; and of streaming the panel of `steps` weight vectors, once per
    tile, from where it fits. What overlaps still costs a share.
    """
    arithmetic = arithmetic or Float32(target.lanes)
    sizes = even_split(pixels, arithmetic.tile_pixels(target.isa.vector_registers, vectors))
    taken = sum(map(arithmetic.taken, sizes))
    prepared = sum(arithmetic.prepared(r, vectors) for r in sizes)
    operations = taken * vectors * arithmetic.operations + prepared
    multiply = operations / (arithmetic.rate or target.fma_per_cycle)
    load = sum(arithmetic.loads(r, vectors) for r in sizes) / 2
    busy = max(multiply, load, arithmetic.latency * len(sizes)) + arithmetic.loading * load
    rate = stream_rate(vectors, steps, target, arithmetic)
    streamed = len(sizes) * vectors * arithmetic.depth * target.isa.vector_bytes / rate
    return float(max(busy, streamed) + 0.2 * streamed)


def stream_rate(vectors: int, steps: int, target: Target, arithmetic: Arithmetic) -> float:
    """Bytes a cycle at which a panel of `steps` times `vectors` weight vectors arrives, by where it fits."""
    panel = steps * vectors * arithmetic.depth * target.isa.vector_bytes
    return next(rate for share, rate in arithmetic.streams if panel <= target.l2_bytes * share)


def choose_vectors(
    spec: WindowSpec, pixels: int, steps: int, target: Target, arithmetic: Arithmetic | None = None
) -> int:
    """Vectors of filters per tile, of those that suit: for which the product takes the least time."""

    def cycles(vectors: int) -> float:
        step = step_cycles(pixels, vectors, steps, target, arithmetic)
        apart = pixels * vectors * _apart_cycles(vectors, target, arithmetic)
        return (step + apart / steps) * spec.filter_groups(target.lanes, vectors)

    return min(spec.tile_vectors(target.lanes), key=cycles)


def _apart_cycles(vectors: int, target: Target, arithmetic: Arithmetic | None) -> float:
    """What the result of a vector of byte sums takes longer where fewer than may be are narrowed together."""
    narrowing = target.isa.narrowing
    if narrowing is None or arithmetic is None or arithmetic.data != "uint8":
        return 0.0
    return _NARROWING * (1 / gcd(vectors, narrowing.vectors) - 1 / narrowing.vectors)


def product_seconds(
    places: float,
    groups: float,
    pixels: int,
    vectors: int,
    steps: int,
    target: Target,
    arithmetic: Arithmetic | None = None,
    seen: float = 1.0,
) -> float:
    """Time of `places` strips of `pixels` pixels, `groups` of filter vectors and `steps` steps each.

    Of the steps a share is `seen`; the others' taps leave the image.
    """
    step = step_cycles(pixels, vectors, steps, target, arithmetic)
    apart = _apart_cycles(vectors, target, arithmetic)
    ending = (arithmetic.ending + apart) * pixels * vectors if arithmetic else 0.0
    cycles = places * groups * (seen * steps * step + 40 + ending)
    return 0.95 * cycles / (target.clock_ghz * 1e9)


def seen_taps(spec: ConvSpec, axis: int) -> float:
    """The share of kernel rows (axis 0) or columns that lie in the image, over all of the result."""
    image, made = ((spec.height, spec.width)[axis], (spec.out_height, spec.out_width)[axis])
    return _seen(image, made, spec.kernel[axis], spec.strides[axis], spec.pads[axis], spec.dilations[axis])


@lru_cache(maxsize=512)
def _seen(image: int, made: int, kernel: int, stride: int, pad: int, dilation: int) -> float:
    places = (at * stride - pad + tap * dilation for at in range(made) for tap in range(kernel))
    return sum(0 <= place < image for place in places) / (made * kernel)


def row_runs(spec: ConvSpec, first: int, last: int, most: int) -> list[Run]:
    """Columns [first, last) cut into tiles of at most `most`; equal neighbours joined."""
    if spec.wide:
        return _wide_runs(spec, first, last, most)
    runs: list[Run] = []
    start = first
    for count in even_split(last - first, most):
        taps = _valid_taps(spec, start, count)
        if runs and runs[-1].taps == taps and runs[-1].size == count:
            runs[-1] = Run(runs[-1].start, runs[-1].tiles + 1, count, taps)
        else:
            runs.append(Run(start, 1, count, taps))
        start += count
    return runs


def _wide_runs(spec: ConvSpec, first: int, last: int, most: int) -> list[Run]:
    """Small tiles where taps leave the image, and between them those that see all taps."""
    inner = min(max(first, -(-spec.pads[1] // spec.strides[1])), last)
    outer = min(max(inner, (spec.width + spec.pads[1] - spec.span(1)) // spec.strides[1] + 1), last)
    return [
        Run(start, tiles, size, (), whole)
        for start, tiles, size, whole in bordered_tiles((first, inner, outer, last), most)
    ]


def bordered_tiles(cuts: tuple[int, int, int, int], most: int) -> list[tuple[int, int, int, bool]]:
    """(start, tiles, size, whether inside) of a border, an inside of large tiles, and a border."""
    found = []
    for number, (start, stop) in enumerate(itertools.pairwise(cuts)):
        whole = number == 1
        sizes = even_split(stop - start, most if whole else min(most, _BORDER)) if stop > start else []
        for size, tiles in Counter(sizes).items():
            found.append((start, tiles, size, whole))
            start += size * tiles
    return found


def _valid_taps(spec: ConvSpec, start: int, count: int) -> tuple[tuple[int, int, int], ...]:
    taps = []
    for kw in range(spec.kernel[1]):
        columns = [
            (start + r) * spec.strides[1] - spec.pads[1] + kw * spec.dilations[1] for r in range(count)
        ]
        valid = [r for r, column in enumerate(columns) if 0 <= column < spec.width]
        if valid:
            taps.append((kw, valid[0], valid[-1] + 1))
    return tuple(taps)


def strip_count(spec: ConvSpec, tiling: Tiling) -> int:
    return -(-spec.out_width // tiling.columns) if tiling.columns else 1


def task_count(spec: ConvSpec, tiling: Tiling, lanes: int) -> int:
    groups = spec.filter_groups(lanes, tiling.vectors)
    return spec.batch * groups * spec.out_height * strip_count(spec, tiling)


@dataclass(frozen=True)
class Order:
    """The order of tasks that reads less from beyond the second-level cache."""

    filters_outer: bool
    ahead: bool


def tiling_in_words(tiling: Tiling, steps: int, target: Target, arithmetic: Arithmetic) -> dict[str, str]:
    """A register-tiled nest, by what cuts it; `steps` are those that an element of the result sums."""
    rate = stream_rate(tiling.vectors, steps, target, arithmetic)
    kept = "weights" if tiling.filters_outer else "image"
    words = {
        "register tile": f"{tiling.pixels} pixels x {tiling.vectors} vectors of filters",
        "cache": f"a tile's weights arrive at {rate:g} B a cycle; tasks keep the {kept}",
    }
    return {**words, "strip": f"{tiling.columns} columns"} if tiling.columns else words


def choose_order(spec: ConvSpec, target: Target, places: int, groups: int) -> Order:
    """Whether to keep weights and go through the image for each, or the reverse."""
    taps, size = spec.kernel[0] * spec.kernel[1], spec.element_bytes
    weights = size * spec.filters * spec.channels * taps // spec.groups
    skipped = spec.strides[0] * spec.strides[1] if spec.kernel == (1, 1) else 1
    image = size * spec.channels * spec.height * spec.width // skipped
    half = target.l2_bytes // 2
    keeping_weights = weights + image * (groups if image > half else 1)
    keeping_image = image + weights * (places if weights > half else 1)
    outer = keeping_weights < keeping_image
    # Of floats, the whole panel is asked for at each place, and with more places is mostly there already.
    ahead = weights > half and (outer or places == 1 if size == 1 else outer and places <= 2)
    return Order(outer, ahead)
