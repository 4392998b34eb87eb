"""The Winograd form of a convolution: how exact each kind of scale is, and what has no form."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.interpreter import run
from secateur.ir.parser import parse_graph
from secateur.ir.printer import print_graph
from secateur.ir.registry import create
from secateur.ir.support.room import domain_room
from secateur.ir.types import DType, Quant, TensorType
from secateur.ir.verifier import verify
from secateur.passes.winograd.factors import factors_of, quantized, steps_from
from secateur.passes.winograd.rounding import nearest, rounded, steps_of, turns_of
from secateur.passes.winograd.transforms import (
    axis_matrices,
    most_tiles,
    sample_tiles,
    transformed_samples,
    transformed_weights,
)
from secateur.passes.winograd.winograd import Options, applicable, create_winograd, winograd_form
from tests.ir.eight_bit import Array
from tests.passes.winograd.winograd_table import (
    MODES,
    TILES,
    Layer,
    direct,
    real_result,
    row,
    synthetic,
    with_winograd,
)


@cache
def small() -> Layer:
    return synthetic(channels=32, images=24, side=18)


@cache
def decibels() -> dict[str, float]:
    return row(small())


def test_one_scale_for_all_taps_fails_on_large_tiles_and_scales_per_tap_do_not() -> None:
    found = decibels()
    assert found["4x4 textbook, tensor"] < 5 < 15 < found["4x4 textbook, tap"]
    assert found["4x4 lance"] < 18 < 23 < found["4x4 tap"]


def test_points_at_root_two_lose_less() -> None:
    found = decibels()
    assert found["4x4 tap"] > found["4x4 textbook, tap"] + 4
    assert found["4x2 tap"] > found["4x2 textbook, tap"] + 2


@pytest.mark.parametrize(("tile", "least"), [("2x2", 33.5), ("4x2", 30.0), ("4x4", 25.3)])
def test_scales_per_channel_gain_more(tile: str, least: float) -> None:
    found = decibels()
    assert found[f"{tile} channel"] > max(least, found[f"{tile} tap"] + 0.4)
    assert found[f"{tile} channel"] < found["direct"]


def form_of(layer: Layer, tile: tuple[int, int], options: Options | None = None) -> Any:
    return winograd_form(direct(layer).operators[-1], layer.weights, tile, layer.chosen, options)


@pytest.mark.parametrize("tile", TILES)
def test_modes_have_the_scales_that_they_say(tile: tuple[int, int]) -> None:
    lance, tap, channel = (form_of(small(), tile, options) for options in MODES.values())
    assert np.unique(lance.factors).size == np.unique(lance.scales).size == 1
    assert (tap.factors == tap.factors[:, :1]).all()
    assert np.unique(tap.factors).size > 4
    assert (channel.factors != channel.factors[:, :1]).any()


def test_transforms_of_real_numbers_are_a_convolution() -> None:
    rng = np.random.default_rng(0)
    for m in (2, 4):
        a_t, g, b_t = axis_matrices(m)
        d, k = rng.standard_normal(m + 2), rng.standard_normal(3)
        np.testing.assert_allclose(a_t @ ((g @ k) * (b_t @ d)), np.convolve(d, k[::-1], "valid"), atol=1e-12)


@given(v=st.integers(-20000, 20000), half=st.integers(1, 16383))
def test_a_diagonal_scaling_of_the_transform_is_one_of_the_factors(v: int, half: int) -> None:
    """B^T with a row doubled and that tap's factor halved is the same operator: nothing is left to learn."""
    once, twice = np.array([[[v]]], np.int32), np.array([[[2 * v]]], np.int32)
    factors = np.array([[2 * half]], np.int16), np.array([[half]], np.int16)
    assert quantized(once, factors[0]) == quantized(twice, factors[1])


@given(seed=st.integers(0, 2**32 - 1))
def test_factors_are_the_nearest_whole_numbers(seed: int) -> None:
    steps = np.exp(np.random.default_rng(seed).uniform(0, 8, (3, 4)))
    factors = factors_of(steps)
    assert factors.dtype == np.int16
    np.testing.assert_allclose(1 / steps_from(factors), 1 / steps, atol=0.5 / 2**15 + 1e-9)
    assert factors_of(np.array([[1e-9, 1e9]])).tolist() == [[32767, 1]]


def bytes_graph(zero: int = 7, **attributes: Any) -> tuple[Graph, Operator]:
    """A layer between bytes, with bias, residual and limits."""
    rng = np.random.default_rng(3)
    graph = Graph("g")
    x = graph.add_input(TensorType((1, 8, 10, 9), DType.U8, quant=Quant((0.02,), (zero,))), "x")
    r = graph.add_input(TensorType((1, 16, 10, 9), DType.U8, quant=Quant((0.03,), (100,))), "r")
    arrays = (
        rng.integers(-127, 128, (16, 8, 3, 3)).astype(np.int8),
        rng.integers(-900, 900, 16).astype(np.int32),
    )
    w, bias = (create("nn.constant", [], {"value": a}) for a in arrays)
    quant = {"scales": tuple(rng.uniform(0.002, 0.004, 16).tolist()), "zero_points": (0,) * 16, "axis": 0}
    weights = create("q.annotate", [w.result], quant)
    settled = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1), "scales": (0.05,)}
    settled |= {"zero_points": (90,), "limits": (60, 220), **attributes}
    conv = create("q.linear_conv", [x, weights.result, bias.result, r], settled, "conv1")
    for op in (w, bias, weights, conv):
        graph.append(op)
    graph.set_outputs([conv.result], ["y"])
    return graph, conv


def real_weights(op: Operator) -> Array:
    annotated = op.operands[1].producer
    assert annotated is not None
    constant = annotated.operands[0].producer
    assert constant is not None
    scales = np.array(annotated["scales"])[:, None, None, None]
    return np.asarray(constant["value"] * scales)


def images(seed: int, count: int = 1) -> Array:
    """Smooth, as a network's activations are."""
    z = np.random.default_rng(seed).standard_normal((count, 8, 12, 11)).cumsum(2).cumsum(3)
    steps: Array = np.rint(128 + 20 * z)
    return steps.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("tile", [(2, 2), (4, 2), (2, 4), (4, 4)])
def test_a_layer_between_bytes_keeps_type_bias_residual_and_limits(tile: tuple[int, int]) -> None:
    graph, conv = bytes_graph()
    given = {"x": images(1)[:, :, :10, :9], "r": images(2, 2).reshape(1, 16, 12, 11)[:, :, :10, :9]}
    wanted = run(graph, given)["y"].astype(int)
    made = create_winograd(conv, winograd_form(conv, real_weights(conv), tile, images(0, 40)), tile)
    assert made[-1].loc == "conv1"
    assert made[-1].result.type == conv.result.type
    graph.insert_before(conv, made)
    graph.replace_value(conv.result, made[-1].result)
    graph.remove_dead()
    verify(graph)
    found = run(graph, given)["y"].astype(int)
    assert found.min() == 60
    assert found.max() == 220
    assert np.abs(found - wanted).mean() < 2
    again = parse_graph(*print_graph(graph))
    np.testing.assert_array_equal(run(again, given)["y"], found)


def test_the_bias_takes_up_the_mean_error() -> None:
    """On an image of one colour, where every tile errs alike."""
    colour = np.random.default_rng(0).integers(0, 256, (1, 32, 1, 1)).astype(np.uint8)
    x = np.broadcast_to(colour, (1, 32, 10, 10))
    layer = Layer("colour", x, x, small().weights)
    graph = with_winograd(layer, (4, 4), MODES["lance"])
    bias = graph.operators[-1].operands[4].producer
    assert bias is not None
    error = run(graph, {"x": x})["y"] - real_result(layer)
    error, without = (e.mean((2, 3)) for e in (error, error - bias["value"].reshape(1, -1, 1, 1)))
    assert np.abs(error).max() < 1e-3 * np.abs(without).max()


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), channels=st.integers(1, 9), count=st.integers(1, 3))
def test_few_samples_and_empty_channels_do_no_harm(seed: int, channels: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (count, channels, 6, 6)).astype(np.uint8)
    x[:, rng.integers(channels)] = 0
    w = rng.standard_normal((3, channels, 3, 3))
    w[rng.integers(3)] = 0
    layer = Layer("tiny", x, x, w)
    form = form_of(layer, (4, 4))
    assert np.isfinite(form.scales).all()
    assert (form.scales > 0).all()
    assert np.isfinite(form.bias).all()
    assert (form.factors > 0).all()


def test_samples_are_spread_evenly_and_bounded() -> None:
    x = np.random.default_rng(0).integers(0, 256, (3, 2, 60, 60)).astype(np.uint8)
    tiles = sample_tiles(x, (4, 4), 9)
    assert tiles.shape == (36, 2, most_tiles(2))
    assert tiles.min() == -9
    np.testing.assert_array_equal(tiles[:, :, 0], x[0, :, :6, :6].reshape(2, 36).T.astype(int) - 9)
    np.testing.assert_array_equal(tiles[:, :, -1], x[-1, :, -6:, -6:].reshape(2, 36).T.astype(int) - 9)


def moments(rng: np.random.Generator, k: int) -> Array:
    """Second moments of three sets of correlated samples."""
    x = rng.standard_normal((3, k, 4 * k)) + 2 * rng.standard_normal((3, 1, 4 * k))
    return np.asarray(x @ x.swapaxes(1, 2))


def rounded_in_turn(w: Array, unit: Array, second: Array) -> Array:
    turns = turns_of(second)
    return rounded(turns.ordered(w), unit, turns)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), columns=st.sampled_from([1, 24, 32, 50]))
def test_rounding_in_turn_errs_less_than_rounding_to_the_nearest(seed: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    w, second = rng.standard_normal((3, 6, columns)), moments(rng, columns)
    unit = steps_of(w)
    stored = rounded_in_turn(w, unit, second)
    assert stored.dtype == np.int8
    assert np.abs(stored.astype(int)).max() <= 127
    errors = [z * unit[:, :, None] - w for z in (stored, nearest(w, unit))]
    turned, plain = (np.einsum("tmc,tcd,tmd->", e, second, e) for e in errors)
    assert turned < 0.9 * plain if columns > 1 else turned == plain


@pytest.mark.parametrize("columns", [1, 31, 32, 33, 100])
def test_what_is_spread_is_a_root_of_the_inverse_moments(columns: int) -> None:
    second = moments(np.random.default_rng(columns), columns)
    order, spread = turns_of(second)
    assert not np.triu(spread, 1).any()
    square = spread @ spread.swapaxes(1, 2)
    for moment, turn, inverse in zip(second, order, square, strict=True):
        assert (np.diff(np.diag(moment)[turn]) <= 0).all()
        np.testing.assert_allclose(inverse @ moment[np.ix_(turn, turn)], np.eye(columns), atol=1e-8)


def test_uncorrelated_inputs_leave_the_nearest() -> None:
    w = np.random.default_rng(0).standard_normal((2, 6, 24))
    eyes = np.stack([np.eye(24)] * 2)
    np.testing.assert_array_equal(rounded_in_turn(w, steps_of(w), eyes), nearest(w, steps_of(w)))


def test_transformed_samples_and_weights_meet_in_the_convolution() -> None:
    rng = np.random.default_rng(0)
    x, w = rng.integers(0, 256, (1, 3, 6, 6)).astype(np.uint8), rng.standard_normal((2, 3, 3, 3))
    v = transformed_samples(sample_tiles(x, (2, 2), 0), (2, 2))
    u = transformed_weights(w, (2, 2))
    assert (u.shape, v.shape) == ((16, 2, 3), (16, 3, 9))
    a_t = np.kron(axis_matrices(2)[0], axis_matrices(2)[0])
    found = (a_t @ (u @ v)[:, :, 0])[0]
    np.testing.assert_allclose(found, (w * x[0, :, :3, :3]).sum((1, 2, 3)), atol=1e-9)


@pytest.mark.parametrize("tile", TILES)
def test_paired_weights_leave_room_and_others_need_not(tile: tuple[int, int]) -> None:
    usual, paired = (form_of(small(), tile, Options(paired=room)) for room in (False, True))
    assert domain_room(paired.weights).signed == 2
    assert domain_room(usual.weights).signed == 0


# What has no form ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "why"),
    [({"strides": (2, 2)}, "strides or dilations"), ({"dilations": (2, 2)}, "strides or dilations")],
)
def test_other_windows_have_no_form(changed: dict[str, Any], why: str) -> None:
    conv = bytes_graph()[1]
    op = create("q.linear_conv", conv.operands[:3], {**conv.attributes, **changed})
    assert why in (applicable(op) or "")
    with pytest.raises(ValueError, match=f"no Winograd form: .*{why}"):
        winograd_form(op, real_weights(conv), (2, 2), images(0))


def test_other_operators_and_kernels_have_no_form() -> None:
    graph = bytes_graph()[0]
    assert applicable(graph.operators[0]) == "nn.constant is no q.linear_conv"
    point = Layer("point", images(0), images(0), np.ones((2, 8, 1, 1)))
    assert applicable(direct(point).operators[-1]) == "its kernel is (1, 1), not (3, 3)"


def test_groups_have_no_form() -> None:
    conv = bytes_graph()[1]
    x = Value(TensorType((1, 16, 10, 9), DType.U8, quant=Quant((0.02,), (7,))), "x")
    op = create("q.linear_conv", [x, *conv.operands[1:3]], {**conv.attributes, "groups": 2})
    assert applicable(op) == "it has 2 groups"


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (images(0).astype(np.int8), "samples of int8"),
        (images(0)[:, :4], "no patches of 8 channels"),
        (images(0)[:0], "no patches of 8 channels"),
        (images(0)[0], "no patches of 8 channels"),
        (images(0)[:, :, :5], "patches of 5 x 11 hold no tile of 6 x 6"),
    ],
)
def test_samples_that_do_not_fit_are_refused(samples: Array, message: str) -> None:
    conv = bytes_graph()[1]
    with pytest.raises(ValueError, match=message):
        winograd_form(conv, real_weights(conv), (4, 4), samples)


def test_weights_of_another_shape_are_refused() -> None:
    conv = bytes_graph()[1]
    with pytest.raises(ValueError, match=r"the weights are \(16, 8, 3\), the operator's \(16, 8, 3, 3\)"):
        winograd_form(conv, real_weights(conv)[..., 0], (2, 2), images(0))


def test_a_bias_that_is_computed_is_refused() -> None:
    conv = bytes_graph()[1]
    conv.operands = [*conv.operands[:2], Value(conv.operands[2].type, "b")]
    with pytest.raises(ValueError, match="its bias is not constant"):
        winograd_form(conv, real_weights(conv), (2, 2), images(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "row"}, "mode 'row' is none of channel, tap, lance"),
        ({"rounding": "up"}, "rounding 'up' is none of nearest, compensated, spatial"),
        ({"balances": ()}, "need a number each"),
        ({"crests": ()}, "need a number each"),
        ({"saturations": (0.0,)}, "saturations positive ones"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Options(**options)
