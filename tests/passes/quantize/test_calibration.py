"""Calibration: histograms of streams, their collection from a graph, and names of values."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph
from secateur.ir.interpreter import run
from secateur.ir.printer import print_graph
from secateur.ir.support.cores import MOST
from secateur.passes.canonicalize.canonicalize import Canonicalize
from secateur.passes.fuse.fuse import Fuse
from secateur.passes.quantize.calibration import histogram
from secateur.passes.quantize.calibration.histogram import SIDE, Histogram
from secateur.passes.quantize.calibration.statistics import (
    Statistics,
    quantizable,
    stream,
    value_names,
)
from tests.passes.texts import Array, build

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
STREAMS = st.lists(hnp.arrays(np.float32, st.integers(0, 40), elements=FLOATS), min_size=1, max_size=4)
NETWORK = """graph @g(%image: tensor<1x3x6x6xf32>) {
  %w1 = const : tensor<4x3x3x3xf32>
  %w2 = const : tensor<4x4x3x3xf32>
  %c1 = nn.conv(%image, %w1) {SAME} : tensor<1x4x6x6xf32> loc("first")
  %r1 = nn.relu(%c1) : tensor<1x4x6x6xf32>
  %0 = nn.conv(%r1, %w2) {SAME} : tensor<1x4x6x6xf32> loc("second")
  %sum = nn.add(%0, %r1) : tensor<1x4x6x6xf32>
  %shape = nn.reshape(%sum) {shape = [1, 144]} : tensor<1x144xf32>
  return %shape as "y"
}
"""


def of(*arrays: Array) -> Histogram:
    histogram = Histogram()
    for array in arrays:
        histogram.add(array)
    return histogram


def same(a: Histogram, b: Histogram) -> bool:
    facts = [(h.limit, h.zeros, h.strange, h.low, h.high) for h in (a, b)]
    return facts[0] == facts[1] and bool(np.array_equal(a.counts, b.counts))


# Histograms ----------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(STREAMS)
def test_stream_gives_what_the_whole_gives(parts: list[Array]) -> None:
    assert same(of(*parts), of(np.concatenate(parts)))
    assert same(of(*parts), of(*reversed(parts)))


@settings(max_examples=40)
@given(STREAMS)
def test_counts_are_those_of_numpy(parts: list[Array]) -> None:
    whole, histogram = np.concatenate(parts).astype(np.float64), of(*parts)
    expected, _ = np.histogram(whole[whole != 0], histogram.edges)
    np.testing.assert_array_equal(histogram.counts, expected)
    assert histogram.zeros == np.count_nonzero(whole == 0)
    assert histogram.total == whole.size
    assert (histogram.low, histogram.high) == ((whole.min(), whole.max()) if whole.size else (0, 0))


@settings(max_examples=40)
@given(hnp.arrays(np.float32, st.integers(1, 60), elements=FLOATS))
def test_more_than_half_of_a_side_is_in_use(values: Array) -> None:
    histogram, largest = of(values), float(np.abs(values.astype(np.float64)).max())
    assert largest < histogram.limit
    assert largest == 0 or histogram.limit <= max(2 * largest, 2.0**-120)


@settings(max_examples=40)
@given(STREAMS, st.data())
def test_rank_finds_the_bin_of_the_sorted_value(parts: list[Array], data: st.DataObject) -> None:
    whole, histogram = np.sort(np.concatenate(parts).astype(np.float64)), of(*parts)
    if not whole.size:
        return
    rank = data.draw(st.integers(0, whole.size - 1))
    low, high = histogram.bin_of_rank(rank)
    assert low <= whole[rank] < high or low == whole[rank] == high == 0


def test_empty_bins_are_not_doubled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value's first extremes would need a hundred doublings, each of all bins."""

    def doubled(counts: Array) -> Array:
        raise AssertionError(f"{counts.size} bins are doubled")

    monkeypatch.setattr(histogram, "_doubled", doubled)
    filled = of(np.zeros(3, np.float32), np.array([1, -2], np.float32))
    assert filled.total == 5
    with pytest.raises(AssertionError, match="are doubled"):
        filled.add(np.array([4], np.float32))


def test_a_lost_count_would_be_noticed() -> None:
    histogram = of(np.array([1, -1, 0], np.float32))
    spoiled = of(np.array([1, -1, 0], np.float32))
    spoiled.counts[SIDE] += 1
    assert not same(histogram, spoiled)


def test_chunks_of_a_large_array_add_up() -> None:
    values = np.random.default_rng(0).standard_normal(200_001).astype(np.float32)
    assert same(of(values), of(*np.array_split(values, 1001)))


def test_strange_values_are_counted_apart() -> None:
    histogram = of(np.array([1, np.nan, np.inf, -2], np.float32), np.array([-np.inf], np.float32))
    assert (histogram.strange, histogram.total, histogram.low, histogram.high) == (3, 2, -2, 1)


def test_adding_takes_no_room_for_the_values_seen() -> None:
    histogram = Histogram()
    before = histogram.counts.nbytes
    tracemalloc.start()
    for seed in range(40):
        histogram.add(np.random.default_rng(seed).standard_normal(100_000).astype(np.float32))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert histogram.counts.nbytes == before == 16 * SIDE
    assert kept < 200_000  # the 4,000,000 values would take 16,000,000


# Collecting ----------------------------------------------------------------------------------------


def collect(graph: Graph, batches: Iterable[Any], names: Any = None, **options: Any) -> Statistics:
    histograms, seen = stream(graph, batches, names, Histogram, **options)
    return Statistics(seen, histograms)


def images(count: int, seed: int = 0) -> Iterator[dict[str, Array]]:
    choose = np.random.default_rng(seed)
    for _ in range(count):
        yield {"image": choose.standard_normal((1, 3, 6, 6)).astype(np.float32)}


def test_collect_sees_every_real_value_and_no_constant() -> None:
    statistics = collect(build(NETWORK), images(3))
    assert list(statistics.histograms) == ["image", "c1", "r1", "second", "sum", "shape"]
    assert statistics.images == 3
    assert statistics.histograms["c1"].total == 3 * 4 * 36
    assert statistics.histograms["r1"].low == 0


def test_collect_counts_what_the_outputs_hold() -> None:
    graph = build(NETWORK)
    found = collect(graph, images(3)).histograms["shape"]
    assert same(found, of(*[run(graph, batch)["y"] for batch in images(3)]))


@pytest.mark.parametrize("names", [("r1",), ("sum", "image")])
def test_collect_watches_the_names_asked_for(names: tuple[str, ...]) -> None:
    assert set(collect(build(NETWORK), images(1), names=names).histograms) == set(names)


def test_collect_holds_a_few_batches_at_a_time() -> None:
    alive: list[int] = []
    largest = 0

    class Tracked(dict[str, Any]):
        def __init__(self, batch: Mapping[str, Array]) -> None:
            super().__init__(batch)
            alive.append(1)

        def __del__(self) -> None:
            alive.pop()

    def batches() -> Iterator[dict[str, Array]]:
        nonlocal largest
        for batch in images(5 * MOST):
            yield Tracked(batch)
            largest = max(largest, len(alive))

    collect(build(NETWORK), batches())
    assert 0 < largest <= 2 * MOST


def test_collect_tells_its_progress() -> None:
    calls: list[tuple[str, int, int]] = []
    collect(build(NETWORK), list(images(2)), progress=lambda *call: calls.append(call))
    assert calls == [("calibration", 0, 2), ("calibration", 1, 2), ("calibration", 2, 2)]
    collect(build(NETWORK), images(1), progress=lambda *call: calls.append(call))
    assert calls[-1] == ("calibration", 1, 0)


def test_no_image_is_refused() -> None:
    with pytest.raises(SecateurError, match="there is not one image"):
        collect(build(NETWORK), [])


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(SecateurError, match="no real value is called 'shapes'; did you mean 'shape'"):
        collect(build(NETWORK), images(1), names=["shapes"])


@pytest.mark.parametrize("batch", [{}, {"image": np.zeros((1, 3, 5, 6), np.float32)}])
def test_a_batch_that_does_not_fit_is_refused(batch: dict[str, Array]) -> None:
    with pytest.raises(SecateurError, match="input 'image'"):
        collect(build(NETWORK), [batch])


# Names ---------------------------------------------------------------------------------------------


def renamed(names: list[str]) -> Graph:
    graph = build(NETWORK)
    for value, name in zip(graph.values(), names, strict=True):
        value.name = name
    return graph


@settings(max_examples=40)
@given(st.lists(st.sampled_from(["", "a", "a__1", "b"]), min_size=8, max_size=8))
def test_names_are_unique(names: list[str]) -> None:
    graph = renamed(names)
    found = value_names(graph)
    assert len(set(found.values())) == len(found)
    first = {name: value for value, name in reversed(list(zip(graph.values(), names, strict=True)))}
    assert all(found[value] == name for name, value in first.items() if name)


@settings(max_examples=30)
@given(st.lists(st.sampled_from(["", "a", "b"]), min_size=8, max_size=8))
def test_names_survive_a_copy(names: list[str]) -> None:
    graph = renamed(names)
    assert list(value_names(graph).values()) == list(value_names(graph.clone()).values())


def test_names_survive_passes() -> None:
    graph = build(NETWORK)
    assert list(quantizable(Fuse().run(Canonicalize().run(graph)))) == ["image", "r1", "sum", "shape"]


def test_names_are_those_of_the_printed_text() -> None:
    graph = renamed(["image", "w", "w", "c", "c", "c", "d", "e"])
    text, _ = print_graph(graph)
    assert len(value_names(graph)) >= 8
    assert all(f"%{name} = " in text or f"%{name}:" in text for name in value_names(graph).values())
