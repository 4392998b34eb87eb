"""Weights that leave room for sums in 16 bits: what room is, how weights get it, which layers take them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from secateur.ir.choice import Choice
from secateur.ir.graph import Graph, Operator, constant_of
from secateur.ir.interpreter import run
from secateur.ir.support.room import (
    BLOCKS,
    QUADS,
    Room,
    blocks_of,
    met,
    met_signed,
    parted,
    parted_signed,
    room_of,
)
from secateur.ir.types import ROW_MAJOR
from secateur.passes.quantize.calibrate import CalibrationData
from secateur.passes.quantize.options import Options
from secateur.passes.quantize.quantize import quantize_graph
from secateur.passes.quantize.room import (
    DEPTH,
    UNSIGNED,
    Floats,
    Kind,
    can_leave_room,
    empty_roomy,
    fitted,
    kinds,
    roomy_weights,
)
from tests.codegen.linear_harness import conv_case
from tests.passes.quantize.test_choice import Table
from tests.passes.quantize.test_quantize import CASES, DIRECT, error_of, images, network
from tests.passes.texts import names

SHAPES = [(5, 64, 3, 3), (3, 100, 1, 1), (4, 3, 5, 2), (2, 1, 1, 1)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def normal(shape: tuple[int, ...]) -> Floats:
    return np.random.default_rng(0).standard_normal(shape)


# Room


@every_shape
@pytest.mark.parametrize("depth", QUADS)
def test_sets_are_taken_apart_and_put_together(shape: tuple[int, ...], depth: int) -> None:
    weights = normal(shape)
    np.testing.assert_array_equal(parted(met(weights, depth), shape[1]), weights)
    np.testing.assert_allclose(met(weights, depth).sum((1, 2)), weights.sum(1))


def test_neighbours_meet() -> None:
    numbers = np.arange(16).reshape(1, 16)
    assert met(numbers, 1)[0, :3].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert met(numbers, 2)[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({0: 64, 1: 64}, 2),
        ({0: 65, 1: 64}, 0),
        ({0: -128, 1: 127}, 2),
        ({0: -128, 1: -1}, 0),
        ({0: 64, 1: 64, 4: 1}, 1),
        ({0: 127, 2: 127, 8: 127}, 2),
    ],
)
def test_room_is_what_signs_add_up_to(values: dict[int, int], wanted: int) -> None:
    weights = np.zeros((2, 16, 1, 1), np.int8)
    for channel, value in values.items():
        weights[1, channel] = value
    assert room_of(weights).unsigned == wanted


@every_shape
def test_sums_with_any_bytes_are_words(shape: tuple[int, ...]) -> None:
    stored, _ = roomy_weights(normal(shape), np.zeros(shape[0]))
    sets = met(stored, DEPTH).astype(int)
    for low, high in ((0, 255), (-128, 127)):
        largest = np.maximum(sets * low, sets * high).sum(2)
        smallest = np.minimum(sets * low, sets * high).sum(2)
        assert largest.max() < 2**15
        assert smallest.min() >= -(2**15)


@every_shape
@pytest.mark.parametrize("blocks", BLOCKS)
def test_blocks_are_taken_apart_and_put_together(shape: tuple[int, ...], blocks: int) -> None:
    weights = normal(shape)
    np.testing.assert_array_equal(parted_signed(met_signed(weights, blocks), shape[1]), weights)


def test_channels_j_and_j_and_8_of_each_block_meet() -> None:
    met = met_signed(np.arange(64).reshape(1, 64), 2)
    assert met[0, [0, 7, 8]].tolist() == [[0, 8, 16, 24], [7, 15, 23, 31], [32, 40, 48, 56]]
    assert blocks_of(48) == (3,)
    assert blocks_of(200) == ()


@pytest.mark.parametrize("blocks", [2, 3, 4])
def test_sums_with_any_signed_bytes_are_words(blocks: int) -> None:
    stored, _ = roomy_weights(normal((5, 16 * blocks, 3, 3)), np.zeros(5), Kind(blocks))
    assert np.abs(met_signed(stored, blocks).astype(int)).sum(2).max() * 128 < 2**15


@pytest.mark.parametrize("channels", [16, 32, 48, 64, 96])
def test_what_stands_for_a_kind_has_that_room_and_no_other(channels: int) -> None:
    op = conv_case(0, (1, channels, 5, 5), 8, (1, 1))[0]
    for kind in kinds(op):
        room = room_of(empty_roomy(op, kind).weights)
        assert room == (Room(signed=kind.blocks) if kind.blocks else Room(unsigned=DEPTH))


def test_two_blocks_lose_next_to_nothing_and_four_no_more_than_quads() -> None:
    real = normal((64, 64, 3, 3))
    usual = np.abs(real).max((1, 2, 3)) / 127
    plain = error(real, np.rint(real / usual.reshape(-1, 1, 1, 1)), usual)
    forms = (roomy_weights(real, np.zeros(64), kind) for kind in (Kind(2), Kind(4), UNSIGNED))
    two, four, quads = (error(real, *form) for form in forms)
    assert plain < two < 1.3 * plain
    assert two < four < 1.1 * quads


# Rounding


@every_shape
def test_what_has_room_is_only_rounded(shape: tuple[int, ...]) -> None:
    steps = 20 * np.tanh(normal(shape))
    np.testing.assert_array_equal(fitted(steps), np.rint(steps))


def test_what_has_none_is_brought_down_evenly() -> None:
    steps = np.zeros((1, 16, 1, 1))
    steps[0, [0, 1, 4, 5, 2], 0, 0] = 100, 60, 40, -7, 127
    assert fitted(steps)[0, [0, 1, 4, 5, 2], 0, 0].tolist() == [76, 36, 16, -7, 127]


def error(real: Floats, stored: Floats, scales: Floats) -> float:
    return float(np.square(real - stored * scales.reshape(-1, 1, 1, 1)).sum())


def test_it_costs_less_than_seven_bits() -> None:
    real = normal((64, 64, 3, 3))
    seven = np.abs(real).max((1, 2, 3)) / 63
    plain = error(real, np.rint(real / seven.reshape(-1, 1, 1, 1)), seven)
    assert error(real, *roomy_weights(real, np.zeros(64))) < plain


def test_scales_keep_above_what_a_bias_needs() -> None:
    _, scales = roomy_weights(normal((4, 16, 1, 1)), np.array([0, 0, 1e3, 0.0]))
    assert scales[2] >= 1e3 > scales[0]


# Layers


@dataclass
class Rooms(Table):
    """Convolutions take half the time where their weights leave room, and `tile` as Winograd ones."""

    def choices(self, op: Operator) -> tuple[Choice, ...]:
        weights = constant_of(op.operands[1]) if op.name == "q.linear_conv" else None
        if weights is None or not can_leave_room(op):
            return super().choices(op)
        seconds = 1.0 if room_of(weights).unsigned else 2.0
        return (Choice("only", (ROW_MAJOR,) * len(op.operands), ROW_MAJOR, 0, seconds),)


def rooms(graph: Graph) -> list[int]:
    convolutions = [op for op in graph.operators if op.name == "q.linear_conv"]
    return [room_of(w).unsigned for op in convolutions if (w := constant_of(op.operands[1])) is not None]


def test_a_layer_takes_them_where_they_are_faster() -> None:
    graph, data = network(CASES["residual"][0]), CalibrationData(images(24))
    table = Rooms({"q.winograd_conv": 9.0, "nn.conv": 9.0})
    made, report = quantize_graph(graph, data, Options(), table)
    assert rooms(made) == [DEPTH, DEPTH]
    assert "q.winograd_conv" not in names(made)
    plain, _ = quantize_graph(graph, data, DIRECT, table)
    assert rooms(plain) == [0, 0]
    assert error_of(graph, plain) - 8 < error_of(graph, made) <= error_of(graph, plain) + 0.5
    assert all(row.sqnr is not None for row in report.rows if row.operator == "q.linear_conv")


def test_a_layer_that_would_lose_too_much_does_not() -> None:
    graph, data = network(CASES["residual"][0]), CalibrationData(images(24))
    table = Rooms({"q.winograd_conv": 9.0, "nn.conv": 9.0})
    made, _ = quantize_graph(graph, data, Options(layer_sqnr=70.0), table)
    assert rooms(made) == [0, 0]


def test_the_result_is_computed_as_ever() -> None:
    graph, data = network(CASES["relu"][0]), CalibrationData(images(8))
    made, _ = quantize_graph(graph, data, Options(), Rooms({"q.winograd_conv": 9.0, "nn.conv": 9.0}))
    (image,) = images(1)
    for got, wanted in zip(run(made, image).values(), run(graph, image).values(), strict=True):
        assert got.shape == wanted.shape
