"""On ARM: functions made of bits or taken from the C library, recurrences, grids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur.ir.elementwise import FUNCTIONS, Step

from ...sampled import sampled
from ..cross_harness import EMULATORS, FLOATS, Case, check_on
from ..generic_harness import operator, rand

FUNCTIONS_MADE_OF_BITS = (
    "floor", "ceil", "round", "sign", "fmod", "mod", "sin", "cos", "softsign", "shrink", "thresholded_relu",
)  # fmt: skip


def _function(name: str) -> Case:
    """A ragged vector of halves, whole numbers, and what is too large to have a fraction."""
    x = np.concatenate([np.arange(-8, 8) / 2, [-0.0, 1e10, -3e38], rand(10)]).astype(np.float32)
    y = np.resize(np.array([2, -2, 0.75, -0.3], np.float32), x.shape)
    arrays = [x, y][: FUNCTIONS[name].arity]
    step = Step(name, FUNCTIONS[name].defaults)
    return Case("elementwise", operator("map", arrays, {"epilogue": (step,)}), arrays)


def _lstm() -> Case:
    arrays = [rand(3, 1, 2 * 4 * 11), rand(2, 11, 44), rand(2, 1, 11), rand(2, 1, 11)]
    steps = (Step("sigmoid"), Step("tanh"), Step("tanh"))
    attributes = {"activations": steps, "direction": "bidirectional", "last_cell": True}
    return Case("recurrence", operator("lstm", arrays, attributes, constants=(1,)), arrays)


def _gru() -> Case:
    arrays = [rand(3, 2, 3 * 11), rand(1, 11, 33), rand(1, 2, 11)]
    attributes = {"activations": (Step("sigmoid"), Step("tanh"))}
    return Case("recurrence", operator("gru", arrays, attributes), arrays)


def _grid() -> Case:
    arrays = [rand(1, 3, 5, 7), np.random.default_rng(2).uniform(-2, 2, (1, 4, 3, 2)).astype(np.float32)]
    return Case("grid_sample", operator("grid_sample", arrays, {"padding": "reflection"}), arrays)


def _places() -> list[Case]:
    """Places of elements, and elements put at places."""
    x, indices = rand(2, 37), np.random.default_rng(2).integers(-37, 37, (2, 9))
    window = {"kernel": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1), "dilations": (1, 1)}
    asked: list[tuple[str, list[Any], dict[str, Any]]] = [
        ("scatter", [x, indices, rand(2, 9)], {"reduction": "add"}),
        ("top_k", [x], {"k": 5}),
        ("max_pool_index", [rand(1, 3, 7, 9)], window),
        ("cumsum", [rand(3, 9, 19)], {"axis": 1}),
    ]
    return [Case(name, operator(name, arrays, how), arrays) for name, arrays, how in asked]


@pytest.mark.slow
@pytest.mark.parametrize("target", sampled(EMULATORS, FLOATS))
def test_on_arm(target: str, tmp_path: Path) -> None:
    cases = [*map(_function, FUNCTIONS_MADE_OF_BITS), _lstm(), _gru(), _grid(), *_places()]
    check_on(target, cases, tmp_path, rtol=1e-5, atol=1e-5)
