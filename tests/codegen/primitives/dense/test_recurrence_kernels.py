"""Recurrences against the interpreter: every cell, target and type, weights packed and computed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secateur.codegen.primitives.dense.recurrence import pack
from secateur.codegen.targets.target import Target
from secateur.ir.elementwise import Step

from ...generic_harness import check, every_target, rand

SIGMOID, TANH = Step("sigmoid"), Step("tanh")
CELLS: dict[str, tuple[int, dict[str, Any]]] = {
    "lstm": (4, {"activations": (SIGMOID, TANH, TANH)}),
    "gru": (3, {"activations": (SIGMOID, TANH)}),
    "rnn": (1, {"activations": (TANH,)}),
}


def operands_of(
    cell: str, hidden: int, directions: int, dtype: str = "float32", steps: int = 4, batch: int = 2
) -> list[Any]:
    gates, count = CELLS[cell][0], 2 if cell == "lstm" else 1
    return [
        rand(steps, batch, directions * gates * hidden, dtype=dtype),
        rand(directions, hidden, gates * hidden, dtype=dtype) / np.sqrt(hidden).astype(dtype),
        *(rand(directions, batch, hidden, dtype=dtype) for _ in range(count)),
    ]


def attributes_of(cell: str, **more: Any) -> dict[str, Any]:
    return {**CELLS[cell][1], **more}


@every_target
@pytest.mark.parametrize("constants", [(), (1,)])
@pytest.mark.parametrize("hidden", [3, 8, 21, 50])
@pytest.mark.parametrize("cell", CELLS)
def test_cell(cell: str, hidden: int, constants: tuple[int, ...], target: Target) -> None:
    check(
        cell, operands_of(cell, hidden, 1), attributes_of(cell), constants=constants, target=target, rtol=1e-5
    )


@pytest.mark.parametrize("direction", ["reverse", "bidirectional"])
@pytest.mark.parametrize("cell", CELLS)
def test_directions(cell: str, direction: str) -> None:
    operands = operands_of(cell, 19, 1 + (direction == "bidirectional"))
    check(cell, operands, attributes_of(cell, direction=direction), constants=(1, 2), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_element_types(cell: str, dtype: str) -> None:
    """Half-precision states are carried in single, and rounded once for the result."""
    tolerance = 2e-3 if dtype == "float16" else 1e-12
    operands = operands_of(cell, 21, 1, dtype)
    check(cell, operands, attributes_of(cell), constants=(1,), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("peepholes", [False, True])
def test_the_last_cell_state_follows(steps: int, peepholes: bool) -> None:
    operands = operands_of("lstm", 21, 2, steps=steps) + ([rand(2, 63)] if peepholes else [])
    attributes = attributes_of("lstm", direction="bidirectional", last_cell=True)
    check("lstm", operands, attributes, constants=(1,), rtol=1e-5)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("reset_after", [False, True])
def test_gru_resets_before_or_after_the_product(reset_after: bool, bias: bool) -> None:
    operands = operands_of("gru", 21, 2) + ([rand(2, 21)] if bias else [])
    attributes = attributes_of("gru", direction="bidirectional", reset_after=reset_after)
    check("gru", operands, attributes, constants=(1,), rtol=1e-5)


def test_clip_limits_the_sums_of_gates() -> None:
    for cell in CELLS:
        check(cell, operands_of(cell, 21, 1), attributes_of(cell, clip=0.25), rtol=1e-5)


def test_packed_weights_are_in_the_order_of_tiles() -> None:
    weights = np.arange(2 * 3 * 6, dtype=np.float32).reshape(2, 3, 6)
    packed = pack(weights, gates=2, tile=2)
    assert packed.shape == (2, 2, 3, 2, 2)
    assert packed[1, 0, 2].tolist() == [[30.0, 31.0], [33.0, 34.0]]
    assert packed[1, 1, 2].tolist() == [[32.0, 0.0], [35.0, 0.0]]
