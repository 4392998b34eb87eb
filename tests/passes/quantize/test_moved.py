"""Weights moved to values that take fewer bits: rounding, what it costs, and the search for a strength."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.codegen.weights.streams import size as coded_size
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Operator, constant_of
from secateur.ir.interpreter import run
from secateur.ir.stages import QUANTIZED
from secateur.ir.verifier import verify
from secateur.passes.quantize.calibrate import CalibrationData
from secateur.passes.quantize.calibration.executor import interpreted
from secateur.passes.quantize.cheaper import cheaper, entropy_bits, step_of
from secateur.passes.quantize.curvature import Curvature, Floats, Moments, cut_of
from secateur.passes.quantize.judge import LimitError
from secateur.passes.quantize.maker import prepare
from secateur.passes.quantize.moved import CLOSE, Mover, curvatures, strongest, weight_bits
from secateur.passes.quantize.options import Options, Winograd
from secateur.passes.quantize.quantize import quantize_graph, quantized_pairs
from tests.passes.quantize.test_quantize import CASES, error_of, images, network
from tests.passes.texts import body, build
from tests.sampled import examples

OPERATORS = {
    "conv": "%y = nn.conv(%x, %w) {SAME} : tensor<1x60x9x9xf32>",
    "strided": "%y = nn.conv(%x, %w) {strides = [2, 2], pads = [1, 0, 0, 1], dilations = [1, 2]} "
    ": tensor<1x60x4x3xf32>",
    "grouped": "%y = nn.conv(%x, %w) {SAME, groups = 2} : tensor<1x60x9x9xf32>",
    "depthwise": "%y = nn.conv(%x, %w) {SAME, groups = 4} : tensor<1x80x9x9xf32>",
}
FILTERS = {
    "conv": (60, 4, 3, 3),
    "strided": (60, 4, 3, 3),
    "grouped": (60, 2, 3, 3),
    "depthwise": (80, 1, 3, 3),
}
every_operator = pytest.mark.parametrize("name", OPERATORS)


def linear(name: str) -> Graph:
    shape = "x".join(map(str, FILTERS[name]))
    text = f'%w = const : tensor<{shape}xf32>\n{OPERATORS[name]}\nreturn %y as "y"'
    return build(body("tensor<1x4x9x9xf32>", text))


def matrix() -> Graph:
    text = '%w = const : tensor<12x5xf32>\n%y = nn.matmul(%x, %w) : tensor<7x5xf32>\nreturn %y as "y"'
    return build(body("tensor<7x12xf32>", text))


def result(graph: Graph, x: Floats) -> Floats:
    return run(graph, {value.name: x for value in graph.inputs})["y"]


def operator(graph: Graph) -> Operator:
    return next(op for op in graph.operators if op.name != "nn.constant")


def seen(graph: Graph, count: int = 1) -> tuple[Operator, Curvature]:
    op, choose = operator(graph), np.random.default_rng(5)
    moments = Moments(op, count)
    for _ in range(count):
        x = choose.standard_normal(op.operands[0].type.shape).astype(np.float32)
        moments.add(x, result(graph, x))
    return op, moments.curvature()


# Curvature


@pytest.mark.parametrize("graph", [*map(linear, OPERATORS), matrix()], ids=[*OPERATORS, "matrix"])
def test_matrices_are_the_weights_taken_apart(graph: Graph) -> None:
    op = operator(graph)
    weights, cut = constant_of(op.operands[1]), cut_of(op)
    assert weights is not None
    np.testing.assert_array_equal(cut.weights(op, cut.matrices(op, weights)), weights)


@pytest.mark.parametrize("graph", [*map(linear, OPERATORS), matrix()], ids=[*OPERATORS, "matrix"])
def test_columns_times_matrices_are_the_results(graph: Graph) -> None:
    op = operator(graph)
    weights = constant_of(op.operands[1])
    assert weights is not None
    x = np.random.default_rng(1).standard_normal(op.operands[0].type.shape).astype(np.float32)
    wanted = result(graph, x)
    moments = Moments(op, 1)
    products = moments._cut.matrices(op, weights) @ moments._columns(x)
    found = products.reshape(-1, products.shape[2])
    results = wanted.T if op.name == "nn.matmul" else wanted.reshape(wanted.shape[1], -1)
    np.testing.assert_allclose(found, results, rtol=1e-3, atol=1e-4)


def test_many_inputs_are_parted_by_channels() -> None:
    text = "%w = const : tensor<2x640x3x3xf32>\n%y = nn.conv(%x, %w) {SAME} : tensor<1x2x3x3xf32>\n"
    cut = cut_of(operator(build(body("tensor<1x640x3x3xf32>", text + 'return %y as "y"'))))
    assert (cut.groups, cut.parts) == (1, 5)


# Rounding


def noise(op: Operator, curvature: Curvature, x: Floats, stored: Floats, units: Floats) -> float:
    weights = constant_of(op.operands[1])
    assert weights is not None
    columns = Moments(op, 1)._columns(x)
    return float(np.square((curvature.cut.matrices(op, weights) - stored * units) @ columns).sum())


@every_operator
def test_fewer_bits_for_little_noise(name: str) -> None:
    op, curvature = seen(linear(name), 20)
    weights = constant_of(op.operands[1])
    assert weights is not None
    strength = curvature.typical * (float(np.abs(weights).max()) / 12) ** 2
    units = np.full(curvature.cut.filters(np.ones(len(weights))).shape, step_of(curvature, strength))
    matrices = curvature.cut.matrices(op, weights.astype(np.float64))
    found = cheaper(matrices, units, curvature, strength, 127)
    plain = np.clip(np.rint(matrices / units[:, :, None]), -127, 127).astype(np.int8)
    assert entropy_bits(found) < entropy_bits(plain)
    x = np.random.default_rng(8).standard_normal(op.operands[0].type.shape).astype(np.float32)
    noises = [noise(op, curvature, x, stored, units[:, :, None]) for stored in (found, plain)]
    assert noises[0] < 2.5 * noises[1]


def curved(n: int, seed: int = 0) -> Curvature:
    """Of a made-up layer of n inputs."""
    text = f'%w = const : tensor<{n}x3xf32>\n%y = nn.matmul(%x, %w) : tensor<9x3xf32>\nreturn %y as "y"'
    return seen(build(body(f"tensor<9x{n}xf32>", text)), 1 + seed)[1]


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 70),
    scale=st.sampled_from([0.0, 1e-6, 1.0, 40.0, 1e4]),
    strength=st.sampled_from([1e-9, 1e-3, 1.0, 1e6]),
    largest=st.sampled_from([63, 127]),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_weights_stay_in_range(
    rows: int, columns: int, scale: float, strength: float, largest: int, seed: int
) -> None:
    """Zeros, outliers, and strengths from nothing to all; zeros stay zeros."""
    curvature = curved(columns)
    weights = scale * np.random.default_rng(seed).standard_normal((1, rows, columns))
    found = cheaper(weights, np.ones((1, rows)), curvature, strength, largest)
    assert found.dtype == np.int8
    assert np.abs(found.astype(int)).max() <= largest
    assert scale or not found.any()


@examples(8, 30)
@given(st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_what_is_moved_grows_by_few_bytes_at_most(columns: int, seed: int) -> None:
    """Whatever codec: noise, and a layer of one value."""
    choose = np.random.default_rng(seed)
    for weights in (choose.uniform(-127, 127, (1, 40, columns)), np.full((1, 40, columns), 7.0)):
        found = cheaper(weights, np.ones((1, 40)), curved(columns), 1e-3, 127)
        assert (coded_size(found, "smallest") or 0) <= found.size + 64


def test_entropy_of_nothing_and_of_one_value_is_none() -> None:
    assert entropy_bits(np.zeros((0, 3), np.int8)) == 0
    assert entropy_bits(np.full((5, 3), -7, np.int8)) == 0


# The search


@pytest.mark.parametrize("slope", [1e-4, 1.0, 300.0])
@pytest.mark.parametrize("limit", [10.0, 29.0, 39.9])
def test_the_strength_is_as_large_as_the_limit_lets_it(slope: float, limit: float) -> None:
    runs: list[float] = []

    def sqnr_of(strength: float) -> float:
        runs.append(strength)
        return -10 * math.log10(1e-4 + slope * strength**1.2 * 1e-3)

    found = strongest(sqnr_of, limit, 40.0, 1.0)
    assert found == 0 or sqnr_of(found) >= limit
    assert len(runs) <= 9


def test_in_proportion_few_runs_suffice() -> None:
    runs: list[float] = []

    def sqnr_of(strength: float) -> float:
        runs.append(strength)
        return -10 * math.log10(1e-4 + strength)

    found = strongest(sqnr_of, 30.0, 40.0, 0.01)
    assert len(runs) <= 3
    assert 30 <= sqnr_of(found) < 30 + CLOSE


def test_where_nothing_passes_there_is_no_strength() -> None:
    assert strongest(lambda _: -math.inf, 30.0, 40.0, 1.0) == 0


# Networks

BARE = Options(winograd="off")
TEXT = CASES["relu"][0]


@pytest.mark.parametrize("winograd", ["off", "2"])
def test_a_network_keeps_the_limit_and_takes_fewer_bits(winograd: Winograd) -> None:
    graph, data = network(TEXT), CalibrationData(images())
    plain = replace(BARE, winograd=winograd)
    made, report = quantize_graph(graph, data, replace(plain, weights_sqnr=18.0))
    verify(made, QUANTIZED)
    usual, before = quantize_graph(graph, CalibrationData(images()), replace(plain, tile_weights="spatial"))
    assert 18 <= report.sqnr < before.sqnr
    assert report.moved is not None
    assert report.moved.sqnr == pytest.approx(before.sqnr)
    assert report.moved.each[1] < report.moved.each[0] - 0.5
    assert weight_bits(made)[0] < weight_bits(usual)[0]
    assert error_of(graph, made) > 12


def test_pairs_have_the_same_weights() -> None:
    options = replace(BARE, weights_sqnr=22.0)
    made, _ = quantize_graph(network(TEXT), CalibrationData(images()), options)
    pairs, report = quantized_pairs(network(TEXT), CalibrationData(images()), options)
    assert report.moved is not None
    assert weight_bits(pairs) == weight_bits(made)


def test_it_does_the_same_again() -> None:
    options = replace(BARE, weights_sqnr=25.0)
    found = [quantize_graph(network(TEXT), CalibrationData(images()), options)[1].moved for _ in range(2)]
    assert found[0] == found[1]


def test_a_limit_that_int8_misses_is_refused() -> None:
    with pytest.raises(LimitError, match=r"weights cannot be moved: the outputs' SQNR is .* \(90 dB wanted"):
        quantize_graph(network(TEXT), CalibrationData(images()), replace(BARE, weights_sqnr=90.0))


def test_options_that_do_not_fit_are_refused() -> None:
    with pytest.raises(SecateurError, match="weights_sqnr nan: a number of decibels"):
        Options(weights_sqnr=math.nan)
    with pytest.raises(SecateurError, match="LANCE's tiles hold none"):
        Options(weights_sqnr=30.0, winograd="lance")


def test_weights_are_rounded_once() -> None:
    graph = prepare(network(TEXT), BARE)
    mover = Mover(curvatures(graph, images(), interpreted, False), BARE.weights, 1e-3)
    op = next(op for op in graph.operators if op.name == "nn.conv")
    rounder = mover.rounder(graph)
    first = rounder(op, 0.01, np.zeros(4))
    assert rounder(op, 0.01, np.zeros(4)) is first
    usual = replace(BARE).weights
    assert np.abs(first.stored.astype(int)).max() <= usual.largest
