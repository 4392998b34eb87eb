"""Searches under a limit, and Winograd tiles chosen by measured error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from secateur.ir.graph import Operator
from secateur.ir.interpreter import run
from secateur.ir.ops.linear import one_quant
from secateur.ir.registry import create
from secateur.passes.quantize.calibrate import CalibrationData
from secateur.passes.quantize.judge import Verdict
from secateur.passes.quantize.measure import decibels
from secateur.passes.quantize.options import Options, Winograd
from secateur.passes.quantize.quantize import quantize_graph
from secateur.passes.quantize.search import (
    CLOSE,
    RUNS,
    Budget,
    Trialled,
    choose_ways,
    fastest_ways,
    noise_allowed,
    noise_of,
    smallest_that_passes,
)
from secateur.passes.quantize.tiles import Layer, Trial, Way
from secateur.passes.winograd.winograd import Options as WinogradOptions
from tests.passes.quantize.test_quantize import CASES, DIRECT, error_of, images, network
from tests.passes.texts import names
from tests.sampled import examples


@given(st.integers(0, 60), st.integers(0, 70))
def test_the_smallest_count_is_found(count: int, needed: int) -> None:
    found = smallest_that_passes(count, lambda n: n >= needed)
    assert found == (needed if needed <= count else None)


def test_few_trials_where_few_are_needed() -> None:
    tried: list[int] = []

    def passes(n: int) -> bool:
        tried.append(n)
        return n >= 3

    assert smallest_that_passes(1000, passes) == 3
    assert len(tried) <= 5


def trialled(noise: float, sqnr: float) -> Trialled:
    return Trialled(noise, Verdict(sqnr, None, sqnr >= 30), {})


def test_noise_is_allowed_in_proportion() -> None:
    failed, passed = trialled(0.1, 20.0), trialled(0.0, 40.0)
    assert noise_allowed(failed, passed, None) == 0.05
    assert noise_allowed(failed, passed, 20.0) == 0.05
    assert noise_allowed(failed, passed, 40.0 - CLOSE / 2) == pytest.approx(0.0)
    assert noise_allowed(failed, passed, 50.0) == 0.0
    assert 0.04 < noise_allowed(failed, passed, 23.0) < 0.05


@examples(25, 100)
@given(st.lists(st.tuples(st.integers(1, 9), st.floats(12, 40)), min_size=1, max_size=30), st.floats(0, 1))
def test_a_limit_is_kept_in_few_runs_and_nearly_met(tiles: list[tuple[int, float]], share: float) -> None:
    """Of a network whose noise is the sum of its layers'."""
    trial, runs = Trial((), WinogradOptions(), None), list[float]()
    layers = [
        Layer(create("nn.constant", [], {"value": np.zeros(1)}), (Way(None, s, 45.0), Way((4, 4), s / 2, db)))
        for s, db in tiles
    ]
    fastest = decibels(1.0, noise_of(fastest_ways(trial, layers)))
    exact = decibels(1.0, noise_of(Budget(trial, layers).most_exact()))
    limit = fastest + share * (exact - fastest)
    assume(limit > fastest)

    def verdict(ways: Mapping[Operator, Way]) -> Verdict:
        runs.append(decibels(1.0, noise_of(ways)))
        return Verdict(runs[-1], None, runs[-1] >= limit)

    ways = choose_ways(trial, layers, verdict, limit)
    assert decibels(1.0, noise_of(ways)) >= limit or ways == Budget(trial, layers).most_exact()
    assert len(runs) <= RUNS
    if limit + CLOSE <= exact:
        rival = Budget(trial, layers).fastest_within(10 ** (-(limit + CLOSE) / 10))
        assert total(ways) <= total(rival)


@given(
    st.lists(st.lists(st.tuples(st.integers(1, 9), st.floats(12, 40)), min_size=1, max_size=3), max_size=6),
    st.floats(0, 1),
)
def test_ways_within_noise_are_the_fastest_of_all(
    layers_ways: list[list[tuple[int, float]]], share: float
) -> None:
    trial = Trial((), WinogradOptions(), None)
    layers = [
        Layer(create("nn.constant", [], {"value": np.zeros(1)}), tuple(Way(None, s, db) for s, db in ways))
        for ways in layers_ways
    ]
    every = [
        dict(zip([x.op for x in layers], ways, strict=True)) for ways in product(*(x.ways for x in layers))
    ]
    noises = sorted(map(noise_of, every))
    allowed = noises[0] + share * (noises[-1] - noises[0])
    found = Budget(trial, layers).fastest_within(allowed)
    assert noise_of(found) <= allowed * (1 + 1e-6)
    assert total(found) == min(total(ways) for ways in every if noise_of(ways) <= allowed * (1 + 1e-9))


def total(ways: Mapping[Operator, Way]) -> float:
    return sum(way.seconds for way in ways.values())


@pytest.mark.parametrize("tile", ["2", "4x2", "4", "lance"])
def test_a_forced_tile_is_taken(tile: Winograd) -> None:
    graph = network(CASES["residual"][0])
    options = replace(DIRECT, winograd=tile, layer_sqnr=5.0)
    made, report = quantize_graph(graph, CalibrationData(images(24)), options)
    assert names(made).count("q.winograd_conv") == 2
    wanted = {"2": "2x2", "4x2": "4x2", "4": "4x4", "lance": "2x2"}[tile]
    assert {row.tile for row in report.rows if row.operator == "q.winograd_conv"} == {wanted}
    assert error_of(graph, made) > 10


def test_a_tile_below_the_layers_limit_is_not_taken() -> None:
    graph = network(CASES["residual"][0])
    made, _ = quantize_graph(graph, CalibrationData(images(24)), Options(winograd="4", layer_sqnr=60.0))
    assert "q.winograd_conv" not in names(made)


def test_the_network_s_limit_takes_tiles_back() -> None:
    graph = network(CASES["residual"][0])
    data, loose = CalibrationData(images(24)), Options(winograd="4", layer_sqnr=5.0)
    direct = quantize_graph(graph, data, DIRECT)[1].sqnr
    fast = quantize_graph(graph, data, loose)[1].sqnr
    assert fast < direct - 3
    wanted = (fast + direct) / 2
    made, report = quantize_graph(graph, data, replace(loose, min_sqnr=wanted))
    assert report.sqnr >= wanted
    assert names(made).count("q.winograd_conv") < 2
    assert report.float_layers == ()


def test_without_costs_no_tile_is_chosen() -> None:
    made, _ = quantize_graph(network(CASES["relu"][0]), CalibrationData(images()), Options())
    assert "q.winograd_conv" not in names(made)


def test_scales_are_those_of_the_range() -> None:
    made, report = quantize_graph(
        network(CASES["relu"][0]), CalibrationData(images()), replace(DIRECT, method="minmax")
    )
    stored = next(op.result for op in made.operators if op.name == "q.quantize")
    scale, zero = one_quant(stored.type)
    arrays = [image["x"] for image in images()]
    low, high = min(a.min() for a in arrays), max(a.max() for a in arrays)
    np.testing.assert_allclose([-zero * scale, (255 - zero) * scale], [low, high], atol=scale)
    assert report.rows[0].low == pytest.approx(-zero * scale)
    assert run(made, images(1)[0])["y"].shape == (1, 4, 8, 8)
