"""Offsets of buffers in one arena."""

from __future__ import annotations

from itertools import combinations
from random import Random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from secateur.passes.memory.arena import (
    ALIGNMENT,
    Buffer,
    Piece,
    live_bytes,
    lower_bound,
    peak,
    union_length,
)
from secateur.passes.memory.fit import ByArrays, ByLists, best_fit, either_end, first_fit, meeting_pairs
from secateur.passes.memory.offsets import assign_offsets


def buffers_within(operators: int) -> st.SearchStrategy[Buffer]:
    times = st.integers(0, operators)
    sizes = st.integers(0, 40).map(lambda n: n * ALIGNMENT)
    return st.builds(lambda a, b, size: Buffer.whole(min(a, b), max(a, b), size), times, times, sizes)


def piece(times: list[int], low: int, size: int) -> Piece:
    return Piece(min(times), max(times), low * ALIGNMENT, (low + size) * ALIGNMENT)


spans = st.lists(st.integers(0, 8), min_size=2, max_size=2)
pieces = st.builds(piece, spans, st.integers(0, 6), st.integers(1, 6))
in_pieces = st.lists(pieces, min_size=1, max_size=4).map(lambda found: Buffer(tuple(found)))
plans = st.lists(buffers_within(12), max_size=14) | st.lists(in_pieces, max_size=8)


def overlapping(buffers: list[Buffer], offsets: list[int]) -> list[tuple[int, int]]:
    """Pairs that share a byte at some operator, found by looking at every operator and every 64 bytes."""
    found = set()
    for at in range(max((b.end for b in buffers), default=0) + 1):
        owner: dict[int, int] = {}
        for i, buffer in enumerate(buffers):
            for p in buffer.pieces:
                for byte in range(offsets[i] + p.low, offsets[i] + p.high, ALIGNMENT):
                    other = owner.setdefault(byte, i) if p.start <= at <= p.end else i
                    if other != i:
                        found.add((other, i))
    return sorted(found)


@settings(max_examples=60)
@given(plans)
def test_no_two_live_buffers_overlap(buffers: list[Buffer]) -> None:
    offsets = assign_offsets(buffers)
    assert overlapping(buffers, offsets) == []
    assert all(o >= 0 and o % ALIGNMENT == 0 for o in offsets)


@settings(max_examples=40)
@given(plans)
def test_peak_is_never_under_the_bound(buffers: list[Buffer]) -> None:
    assert peak(buffers, assign_offsets(buffers)) >= lower_bound(buffers)


BLOCKS = st.integers(0, 40).map(lambda n: n * ALIGNMENT)


@given(st.lists(BLOCKS, min_size=1, max_size=30))
@example([n * ALIGNMENT for n in (0, 0, 2, 28, 28, 16, 40, 1, 17, 39, 2, 17, 39)])
@example([n * ALIGNMENT for n in (0, 0, 6, 5, 2, 6, 4, 3, 6)])
def test_a_chain_reaches_the_bound(sizes: list[int]) -> None:
    buffers = [Buffer.whole(i, i + 1, size) for i, size in enumerate(sizes)]
    offsets = assign_offsets(buffers)
    assert overlapping(buffers, offsets) == []
    assert peak(buffers, offsets) == lower_bound(buffers)


@given(st.lists(st.tuples(BLOCKS, BLOCKS), min_size=1, max_size=30))
def test_a_chain_of_operators_with_workspaces_reaches_the_bound(sizes: list[tuple[int, int]]) -> None:
    results = [Buffer.whole(i, i + 1, result) for i, (result, _) in enumerate(sizes)]
    workspaces = [Buffer.whole(i, i, workspace) for i, (_, workspace) in enumerate(sizes)]
    buffers = results + workspaces
    offsets = assign_offsets(buffers)
    assert overlapping(buffers, offsets) == []
    assert peak(buffers, offsets) == lower_bound(buffers)


@settings(max_examples=15)
@given(plans)
def test_the_same_buffers_get_the_same_offsets(buffers: list[Buffer]) -> None:
    assert assign_offsets(buffers) == assign_offsets(list(buffers))


def test_search_finds_what_greedy_orders_miss() -> None:
    """Placed by size, area, lifetime or time these do not reach the bound; another order does."""
    spans = [(0, 1, 3), (0, 4, 2), (1, 2, 4), (2, 4, 3), (3, 6, 4), (4, 6, 1), (5, 8, 3), (6, 8, 4)]
    buffers = [Buffer.whole(a, b, size * ALIGNMENT) for a, b, size in spans]
    offsets = assign_offsets(buffers)
    assert overlapping(buffers, offsets) == []
    assert peak(buffers, offsets) <= 1.05 * lower_bound(buffers)


def test_the_checker_of_these_tests_sees_an_overlap() -> None:
    buffers = [Buffer.whole(0, 2, 128), Buffer.whole(2, 3, 128), Buffer.whole(3, 4, 128)]
    assert overlapping(buffers, [0, 64, 0]) == [(0, 1), (1, 2)]
    assert overlapping(buffers, [0, 128, 0]) == []


def test_what_is_not_needed_yet_lends_its_bytes() -> None:
    """A buffer whose upper half is needed late leaves room for one that is needed early."""
    growing = Buffer((Piece(0, 9, 0, 128), Piece(5, 9, 128, 256)))
    early = Buffer.whole(1, 4, 128)
    assert lower_bound([growing, early]) == peak([growing, early], assign_offsets([growing, early])) == 256


def test_nothing_to_place() -> None:
    assert assign_offsets([]) == []
    assert lower_bound([]) == peak([], []) == 0


# Many at once --------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(plans, st.randoms(use_true_random=False))
def test_arrays_and_lists_place_alike(buffers: list[Buffer], random: Random) -> None:
    order = random.sample(range(len(buffers)), len(buffers))
    bound = lower_bound(buffers) if buffers else 0
    for fit in (first_fit, best_fit, either_end):
        by_arrays = ByArrays(buffers).place(order, fit, bound)
        assert by_arrays == ByLists(buffers).place(order, fit, bound)


@given(st.lists(pieces, max_size=12))
def test_pairs_of_pieces_are_counted_without_looking_at_each(found: list[Piece]) -> None:
    assert meeting_pairs(found) == sum(a.meets(b) for a, b in combinations(found, 2))


@settings(max_examples=60)
@given(plans)
def test_live_bytes_are_those_of_the_pieces(buffers: list[Buffer]) -> None:
    for at, found in enumerate(live_bytes(buffers)):
        ranges = [[(p.low, p.high) for p in b.pieces if p.start <= at <= p.end] for b in buffers]
        assert found == sum(map(union_length, ranges))


def test_the_bound_ends_the_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two thousand buffers that all live to the end: the first order is the best, no other is tried."""
    buffers = [Buffer.whole(i, 2000, ALIGNMENT) for i in range(2000)]
    placed: list[list[int]] = []
    place = ByArrays.place

    def counted(*arguments: Any) -> list[int]:
        placed.append(place(*arguments))
        return placed[-1]

    monkeypatch.setattr(ByArrays, "place", counted)
    assert peak(buffers, assign_offsets(buffers)) == lower_bound(buffers)
    assert len(placed) == 1
