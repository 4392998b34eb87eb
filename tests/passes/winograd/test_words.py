"""Winograd forms that end in words of 16 bits: which do, and that they add little noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from secateur.ir.graph import Operator, Value
from secateur.ir.interpreter import evaluate
from secateur.ir.registry import create
from secateur.ir.types import DType, Quant
from secateur.passes.winograd.winograd import Form, Options, create_winograd, winograd_form
from secateur.passes.winograd.words import factor_bits, may_end_in_words
from tests.ir.eight_bit import F32, Array
from tests.passes.winograd.winograd_table import Layer, Tile, direct, synthetic

LAYER = synthetic(channels=32, images=8, side=18)


def conv(step: float) -> Operator:
    """The layer with a bias, of bytes in such steps around 128."""
    op = direct(LAYER).operators[-1]
    bias = np.random.default_rng(0).integers(-100_000, 100_000, len(LAYER.weights)).astype(np.int32)
    op.operands = [*op.operands[:2], create("nn.constant", [], {"value": bias}).result]
    stored = {"dtype": DType.U8, "scales": (step,), "zero_points": (128,)}
    return create("q.linear_conv", list(op.operands), {**op.attributes, **stored})


def form_of(op: Operator, tile: Tile, layer: Layer = LAYER) -> Form:
    return winograd_form(op, layer.weights, tile, layer.chosen, Options(words=True))


def result_of(op: Operator, form: Form, tile: Tile) -> Array:
    made = create_winograd(op, form, tile)
    (found,) = evaluate(made[-1], [LAYER.measured, *form[:4]])
    return found


@pytest.mark.parametrize("tile", [(2, 2), (4, 2), (2, 4), (4, 4)])
def test_words_add_little_to_what_rounding_a_result_does(tile: Tile) -> None:
    """In squared steps, whose rounding is a twelfth; and nothing on average."""
    op = conv(300.0)
    form = form_of(op, tile)
    assert form.factor_bits == 13
    words = result_of(op, form, tile).astype(float) - 128
    real = create("q.linear_conv", list(op.operands), {**op.attributes, "dtype": DType.F32, **REAL})
    floats = form._replace(factor_bits=0, bias=winograd_bias(op, tile))
    error = words - result_of(real, floats, tile)
    inside = np.abs(words) < 126
    assert inside.mean() > 0.9
    assert abs(error[inside].mean()) < 0.02
    assert np.square(error[inside]).mean() < 1 / 12 + 0.03


REAL = {"scales": (), "zero_points": ()}


def winograd_bias(op: Operator, tile: Tile) -> Array:
    """Without what words lose."""
    return winograd_form(op, LAYER.weights, tile, LAYER.chosen, Options()).bias


def test_real_results_and_residuals_of_large_steps_do_not_end_in_words() -> None:
    op = conv(300.0)
    assert may_end_in_words(op)
    real = create("q.linear_conv", list(op.operands), {**op.attributes, "dtype": DType.F32, **REAL})
    assert not may_end_in_words(real)
    for step, may in ((2300.0, True), (2500.0, False)):
        type = replace(op.result.type, quant=Quant((step,), (0,)))
        assert may_end_in_words(create(op.name, [*op.operands, Value(type, "r")], op.attributes)) is may
    assert form_of(real, (4, 4)).factor_bits == 0


def test_sums_that_words_cannot_hold_have_larger_factors_or_end_in_floats() -> None:
    """Where one filter's scale is far above the others', these have no range."""
    stored, q = np.full((16, 2, 8), 100, np.int8), np.full((16, 8, 4), 90, F32)
    assert factor_bits(stored, q, np.full((16, 2), 3e-3, F32)) == 13
    assert factor_bits(stored, q, np.tile(np.array([3e-3, 0.012], F32), (16, 1))) == 14
    assert factor_bits(stored, q, np.tile(np.array([3e-3, 0.03], F32), (16, 1))) == 15
    assert factor_bits(stored, q, np.tile(np.array([3e-3, 0.1], F32), (16, 1))) == 0


def test_steps_that_are_too_large_a_share_of_a_result_end_in_floats() -> None:
    assert form_of(conv(1e-3), (4, 4)).factor_bits == 0


def test_filters_end_in_floats() -> None:
    spatial = replace(Options(words=True), rounding="spatial")
    assert winograd_form(conv(300.0), LAYER.weights, (4, 4), LAYER.chosen, spatial).factor_bits == 0
