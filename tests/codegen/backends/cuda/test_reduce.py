"""Rows that are a block's: reductions, softmax, normalizations, averages of bytes."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur.codegen.backends.cuda.primitives import PRIMITIVES
from secateur.codegen.backends.cuda.reduce.shared import Cut, cut
from secateur.codegen.decisions import refusal
from secateur.codegen.primitives.chosen import chosen_as
from secateur.codegen.targets.rows import GPUS
from secateur.ir import interpreter
from secateur.ir.graph import Operator
from secateur.ir.registry import create
from secateur.ir.types import DType

from ....sampled import sampled_rows
from ...bytes_harness import activation, some_bytes, stored
from ...generic_harness import operator, rand
from .harness import assert_same_in_every_order, choices, run
from .test_ptxas import ASSEMBLER, built

pytestmark = pytest.mark.usefixtures("gpu")
NANO, ORIN = GPUS["jetson-nano"], GPUS["jetson-orin"]
SPATIAL = {"axes": (2, 3), "keepdims": True}


def case(name: str, *shapes: tuple[int, ...], dtype: Any = np.float32, **how: Any) -> tuple[Operator, Any]:
    arrays = [rand(*shape, dtype=dtype) for shape in shapes]
    return operator(name, arrays, how, range(1, len(arrays))), arrays


def average(shape: tuple[int, ...], real: bool = False) -> tuple[Operator, list[Any]]:
    """Of whole images of bytes, to bytes or floats."""
    how = {"kernel": shape[2:], "strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)}
    out = {"dtype": DType.F32} if real else stored(7)
    return create("q.linear_average_pool", [activation(shape, 131)], {**how, **out}), [some_bytes(shape)]


CASES: dict[str, Any] = {
    "softmax": lambda: case("softmax", (3, 1000), axis=1),
    "of any length": lambda: case("log_softmax", (2, 333), axis=-1),
    "half": lambda: case("softmax", (2, 400), dtype=np.float16, axis=1),
    "mean": lambda: case("reduce_mean", (2, 6, 11, 13), **SPATIAL),
    "half mean": lambda: case("reduce_mean", (1, 16, 11, 13), dtype=np.float16, **SPATIAL),
    "max": lambda: case("reduce_max", (5, 700), axes=(1,), keepdims=False),
    "all": lambda: case("reduce_l2", (3, 5, 77), axes=(0, 1, 2), keepdims=False),
    "layer norm": lambda: case("layer_norm", (3, 196), (196,), (196,), axis=1, epsilon=1e-5),
    "instance norm": lambda: case("instance_norm", (2, 6, 12, 12), (6,), (6,), epsilon=1e-5),
}


@pytest.mark.parametrize("name", CASES)
def test_floats(name: str) -> None:
    op, arrays = CASES[name]()
    wanted, tolerance = interpreter.evaluate(op, arrays)[0], 2e-3 if name.startswith("half") else 2e-5
    found = [c for c in choices(op, NANO) if c.primitive.endswith("shared")]
    assert found
    for choice in found:
        np.testing.assert_allclose(run(op, arrays, NANO, choice), wanted, tolerance, tolerance)


@pytest.mark.parametrize(("shape", "real"), [((2, 37, 9, 7), False), ((1, 48, 40, 40), True)])
def test_bytes_to_the_bit(shape: tuple[int, ...], real: bool) -> None:
    op, arrays = average(shape, real)
    wanted = interpreter.evaluate(op, arrays)[0]
    found = choices(op, ORIN, "linear_average_pool_shared")
    assert found
    for choice in found:
        np.testing.assert_array_equal(run(op, arrays, ORIN, choice), wanted)
        chosen = chosen_as(op, choice)
        chosen.attributes["operand_layouts"] = [layout.name for layout in choice.operand_layouts]
        assert refusal(chosen, ORIN, PRIMITIVES) is None


def test_a_nan_stays() -> None:
    op, arrays = case("reduce_max", (2, 300), axes=(1,), keepdims=False)
    arrays[0][1, 200] = np.nan
    (choice,) = choices(op, ORIN, "reduce_shared")
    np.testing.assert_array_equal(run(op, arrays, ORIN, choice), interpreter.evaluate(op, arrays)[0])


def test_every_order_of_threads_gives_the_same_bits() -> None:
    op, arrays = case("softmax", (2, 500), axis=1)
    (choice,) = choices(op, ORIN, "softmax_shared")
    assert_same_in_every_order(op, arrays, ORIN, choice)


LONG = {
    "one row": lambda: case("softmax", (1, 1000), axis=1)[0],
    "few images": lambda: case("reduce_mean", (1, 64, 112, 112), **SPATIAL)[0],
    "bytes": lambda: average((1, 64, 56, 56))[0],
}


@pytest.mark.parametrize("name", LONG)
def test_the_model_prefers_blocks(name: str) -> None:
    assert min(choices(LONG[name](), ORIN), key=lambda c: c.seconds).primitive.endswith("shared")


def test_short_rows_and_rows_side_by_side_are_a_threads() -> None:
    short = case("softmax", (400, 10), axis=1)[0]
    beside = case("softmax", (1, 400, 64), axis=1)[0]
    double = case("reduce_sum", (2, 400), dtype=np.float64, axes=(1,), keepdims=False)[0]
    for op in (short, beside, double):
        assert not [c for c in choices(op, ORIN) if c.primitive.endswith("shared")]


def test_vectors_are_whole_accesses() -> None:
    assert cut(3, 1000, 4) == Cut(3, 1000, 128, 4)
    assert cut(3, 1001, 4) == Cut(3, 1001, 256, 1)
    assert cut(2, 49, 4, 4) == Cut(2, 49, 32, 1, 4, 4)


KINDS = ("softmax", "mean", "layer norm", "bytes")
ASSEMBLED = list(product(("jetson-nano", "cuda-sm_61", "jetson-orin"), KINDS))
_ONE = ("jetson-nano", "bytes")


@pytest.mark.skipif(ASSEMBLER is None, reason="needs ptxas: pip install -e '.[cuda]'")
@pytest.mark.parametrize(("name", "kind"), sampled_rows(ASSEMBLED, lambda *row: row == _ONE))
def test_nothing_is_spilled(name: str, kind: str, tmp_path: Path) -> None:
    target, op = GPUS[name], average((1, 64, 56, 56))[0] if kind == "bytes" else CASES[kind]()[0]
    choice = next(c for c in choices(op, target) if c.primitive.endswith("shared"))
    chosen = chosen_as(op, choice)
    report, _ = built(PRIMITIVES.find(chosen).kernel(chosen, target), target, tmp_path)
    assert report.spilled == 0
    assert report.registers <= 64
