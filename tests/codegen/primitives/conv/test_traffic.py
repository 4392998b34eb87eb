"""What nests move between levels of the memory, held against a cache that is simulated line by line."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import pytest

from secateur.codegen.primitives.conv.plan import Tiling, row_runs, strip_count
from secateur.codegen.primitives.conv.traffic import TiledTraffic, Traffic
from secateur.codegen.primitives.specs import ConvSpec

LANES, LINE = 4, 64


def spec(channels: int, side: int, filters: int, kernel: int, stride: int = 1) -> ConvSpec:
    pad = kernel // 2
    return ConvSpec(
        1, channels, side, side, filters, (kernel, kernel), (stride, stride), (pad,) * 4,
        in_layout="NCHW4c", out_layout="NCHW4c",
    )  # fmt: skip


def accesses(spec: ConvSpec, tiling: Tiling) -> Iterator[tuple[str, int]]:
    """(buffer, line) in the order in which the nest reads them."""
    blocks, taps, width = spec.channels // LANES, spec.kernel[0] * spec.kernel[1], tiling.vectors * LANES
    groups, strips = spec.filters // width, strip_count(spec, tiling)
    places = spec.out_height * strips
    order = [(g, p) for g in range(groups) for p in range(places)]
    if not tiling.filters_outer:
        order.sort(key=lambda task: (task[1], task[0]))
    for group, place in order:
        row, first = place // strips, place % strips * (tiling.columns or 0)
        columns = min(tiling.columns or spec.out_width, spec.out_width - first)
        for run in row_runs(spec, 0, columns, tiling.pixels):
            for tile in range(run.tiles):
                for cb in range(blocks):
                    for kh in range(spec.kernel[0]):
                        y = row * spec.strides[0] - spec.pads[0] + kh
                        if not 0 <= y < spec.height:
                            continue
                        for kw, low, high in run.taps:
                            for r in range(low, high):
                                x = (first + run.start + tile * run.size + r) * spec.strides[1] + kw
                                at = ((cb * spec.height + y) * spec.width + x - spec.pads[1]) * LANES
                                yield "image", at * 4 // LINE
                            at = ((group * blocks + cb) * taps + kh * spec.kernel[1] + kw) * LANES * width
                            yield from (
                                ("weights", (at + i) * 4 // LINE) for i in range(0, LANES * width, 16)
                            )


def missed(spec: ConvSpec, tiling: Tiling, capacity: int) -> int:
    """Bytes that a cache without sets reads, which forgets what was used longest ago."""
    kept, count = OrderedDict[tuple[str, int], None](), 0
    for line in accesses(spec, tiling):
        count += line not in kept
        kept[line] = None
        kept.move_to_end(line)
        if len(kept) > capacity // LINE:
            kept.popitem(last=False)
    return count * LINE


@pytest.mark.parametrize("capacity", [1 << 11, 1 << 14, 1 << 18])
@pytest.mark.parametrize("outer", [False, True], ids=["image kept", "weights kept"])
@pytest.mark.parametrize(
    ("of", "columns"),
    [(spec(32, 12, 32, 3), 0), (spec(16, 16, 64, 3), 0), (spec(32, 12, 32, 3, 2), 0),
     (ConvSpec(1, 64, 1, 96, 64, (1, 1), in_layout="NCHW4c", out_layout="NCHW4c"), 32)],
    ids=["3x3", "few channels", "stride 2", "pointwise"],
)  # fmt: skip
def test_traffic_is_that_of_a_simulated_cache(of: ConvSpec, columns: int, outer: bool, capacity: int) -> None:
    """Within a third: a border reads fewer rows, a line is more than a vector, and caches forget in part."""
    tiling = Tiling(8, 2, outer, columns)
    told = TiledTraffic(of, tiling, LANES).fetched(capacity)
    assert told == pytest.approx(missed(of, tiling, capacity), rel=0.34)


def test_what_fits_is_read_once() -> None:
    of = spec(16, 8, 16, 3)
    told = TiledTraffic(of, Tiling(8, 2), LANES).fetched(1 << 20)
    assert told == 4 * (16 * 64 + 9 * 16 * 16)


def test_a_small_cache_reads_more() -> None:
    nest = TiledTraffic(spec(32, 12, 32, 3), Tiling(8, 2), LANES)
    small, large = nest.fetched(1 << 11), nest.fetched(1 << 18)
    assert small > 10 * large


def test_traffic_in_words() -> None:
    words = Traffic(1_500_000, 240_000, 10_000).words
    assert words == "1.50 MB into the first-level cache, 0.24 MB into the second, 0.01 MB written"
