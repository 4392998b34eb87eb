"""Recurrences by blocks of threads, in one kernel and step by step: the interpreter's states."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur.codegen.backends.cuda.primitives import PRIMITIVES
from secateur.codegen.backends.cuda.recurrence import primitive as recurrence
from secateur.codegen.backends.cuda.recurrence.primitive import packed
from secateur.codegen.backends.cuda.recurrence.schedule import Recurrent, UnitTile, fastest
from secateur.codegen.primitives.chosen import chosen_as
from secateur.codegen.targets.rows import GPUS
from secateur.ir import interpreter
from secateur.ir.elementwise import Step
from secateur.ir.graph import Operator

from ....sampled import sampled_rows
from ...generic_harness import operator, rand
from ...primitives.dense.test_recurrence_kernels import attributes_of, operands_of
from .harness import assert_same_in_every_order, choices, run
from .test_ptxas import ASSEMBLER, built

pytestmark = pytest.mark.usefixtures("gpu")
NANO, ORIN = GPUS["jetson-nano"], GPUS["jetson-orin"]
LOOPED, STEPPED = "recurrence_block", "recurrence_steps"
TILES = {LOOPED: UnitTile(64, 8, 2, True), STEPPED: UnitTile(32, 4, 1, False)}
"""With several tiles of units, some empty; with sequences side by side, or one after another."""


@pytest.fixture
def tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recurrence, "fastest", lambda _, looped, __: TILES[LOOPED if looped else STEPPED])


def check(op: Operator, arrays: list[Any], name: str, tolerance: float = 1e-5) -> None:
    (choice,) = choices(op, NANO, name)
    wanted = interpreter.evaluate(op, arrays)[0]
    np.testing.assert_allclose(run(op, arrays, NANO, choice), wanted, tolerance, tolerance)


def case(cell: str, direction: str = "bidirectional", dtype: str = "float32", **more: Any) -> tuple[Any, Any]:
    """Of 21 units and three sequences, four steps unless it is said."""
    extra, steps = more.pop("extra", None), more.pop("steps", 4)
    directions = 1 + (direction == "bidirectional")
    arrays = operands_of(cell, 21, directions, dtype, steps, batch=3)
    arrays += [] if extra is None else [rand(directions, extra * 21, dtype=dtype)]
    return operator(cell, arrays, attributes_of(cell, direction=direction, **more), (1, 2)), arrays


CASES: dict[str, dict[str, Any]] = {
    "lstm": {"cell": "lstm"},
    "peepholes": {"cell": "lstm", "extra": 3, "last_cell": True, "direction": "reverse"},
    "gru": {"cell": "gru", "extra": 1},
    "reset after": {"cell": "gru", "extra": 1, "reset_after": True, "clip": 0.25, "steps": 1},
    "rnn": {"cell": "rnn"},
}


ROWS = list(product(CASES, TILES))


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize(("name", "by"), sampled_rows(ROWS, lambda name, by: (name != "rnn") or by == LOOPED))
def test_cells(name: str, by: str) -> None:
    check(*case(**CASES[name]), by)


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("by", TILES)
def test_binary16_has_states_in_float32(by: str) -> None:
    check(*case("lstm", "forward", "float16"), by, 2e-3)


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("by", TILES)
def test_every_order_of_threads_gives_the_same_bits(by: str) -> None:
    op, arrays = case("gru", "forward")
    (choice,) = choices(op, ORIN, by)
    assert_same_in_every_order(op, arrays, ORIN, choice)


def lstm(hidden: int, steps: int, dtype: str = "float32") -> Operator:
    """Of one sequence, both ways."""
    shapes = [(steps, 1, 8 * hidden), (2, hidden, 4 * hidden), (2, 1, hidden), (2, 1, hidden)]
    return operator(
        "lstm", [np.zeros(s, dtype) for s in shapes], attributes_of("lstm", direction="bidirectional"), [1]
    )


def test_the_model_prefers_blocks_to_threads() -> None:
    """The recurrence of a reader of captchas takes milliseconds where a thread had a sequence to itself."""
    found = {c.primitive: c.seconds for c in choices(lstm(512, 24), ORIN)}
    assert min(found, key=lambda name: found[name]) == STEPPED
    assert found[STEPPED] < 2e-3 < 0.1 < found["recurrence"]
    small = {c.primitive: c.seconds for c in choices(lstm(64, 24), ORIN)}
    assert min(small, key=lambda name: small[name]) == LOOPED


def test_steps_have_their_weights_once() -> None:
    """The workspace has every hidden state; constants are the weights and the numbers of steps."""
    op = lstm(64, 5)
    (choice,) = choices(op, ORIN, STEPPED)
    chosen = chosen_as(op, choice)
    primitive = PRIMITIVES.find(chosen)
    assert len(primitive.stages(chosen, ORIN)) == 7
    assert len(primitive.arguments(chosen, ORIN)) == 3 + 1 + 5
    assert choice.workspace == 4 * 2 * (6 + 1) * 64


def test_weights_are_in_the_order_in_which_threads_read_them() -> None:
    weights = np.arange(3 * 6, dtype=np.float32).reshape(1, 3, 6)
    work, tile = Recurrent((2,), 2, 1, 1, 1, 3, 4), UnitTile(8, 4, 1, True)
    found = packed(weights, 2, tile, work)
    assert found.shape == (1, 2, 1, 2, 2, 4, 4)
    assert found[0, 0, 0, 0, 1, 0].tolist() == [1.0, 7.0, 13.0, 0.0]
    assert found[0, 1, 0, 1, 0, 0].tolist() == [5.0, 11.0, 17.0, 0.0]
    assert not found[0, 1, 0, :, 1].any()


def test_other_recurrences_are_a_threads() -> None:
    computed = operator("rnn", operands_of("rnn", 8, 1), {"activations": (Step("tanh"),)})
    assert [c.primitive for c in choices(computed, ORIN)] == ["recurrence"]
    double = operator("rnn", operands_of("rnn", 8, 1, "float64"), {"activations": (Step("relu"),)}, [1])
    assert [c.primitive for c in choices(double, ORIN)] == ["recurrence"]
    long = Recurrent((4,), 3, 4, 1, 1, 5000, 4)
    assert fastest(long, True, ORIN) is None
    assert fastest(long, False, ORIN)


def test_schedules_check_themselves() -> None:
    with pytest.raises(ValueError, match="no whole groups"):
        UnitTile(128, 48, 1, True)


ASSEMBLED = list(
    product(
        ("jetson-nano", "cuda-sm_61", "jetson-xavier", "jetson-orin", "cuda-sm_90"),
        ("float32", "float16"),
        TILES,
    )
)


@pytest.mark.skipif(ASSEMBLER is None, reason="needs ptxas: pip install -e '.[cuda]'")
@pytest.mark.parametrize(
    ("name", "dtype", "by"), sampled_rows(ASSEMBLED, lambda *row: row == ("jetson-nano", "float32", LOOPED))
)
def test_nothing_is_spilled(name: str, dtype: str, by: str, tmp_path: Path) -> None:
    target, op = GPUS[name], lstm(256, 2, dtype)
    (choice,) = choices(op, target, by)
    chosen = chosen_as(op, choice)
    primitive: Any = PRIMITIVES.find(chosen)
    for kernel in primitive.kernels(chosen, target):
        report, _ = built(kernel, target, tmp_path)
        assert report.spilled == 0
        if kernel.workspace:
            assert report.registers <= primitive.tile(chosen, target).registers(primitive.work(chosen))
            assert report.shared == kernel.workspace
