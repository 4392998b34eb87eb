"""Places of elements and elements put at places, by a thread a task: the interpreter's answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secateur.codegen.targets.rows import GPUS
from secateur.ir import interpreter

from ...generic_harness import operator, rand, whole
from .harness import choices, run

pytestmark = pytest.mark.usefixtures("gpu")
WINDOW = {"kernel": (2, 3), "strides": (2, 1), "pads": (0, 1, 0, 1), "dilations": (1, 1)}


def with_nan(array: Any) -> Any:
    array[0, 3] = np.nan
    return array


CASES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "scatter": ([rand(2, 9, 3), np.array([[8, -9, 8], [0, 1, 2]]), rand(2, 3, 3)], {"reduction": "add"}),
    "top_k": ([whole(2, 19, dtype=np.float32)], {"k": 7}),
    "top_k across": ([with_nan(whole(2, 19, 3, dtype=np.float32))], {"k": 19, "axis": 1, "largest": False}),
    "max_pool_index": ([whole(1, 2, 6, 5, dtype=np.float32)], WINDOW),
    "cumsum": ([whole(2, 5, 3, dtype=np.float32)], {"axis": 1, "reverse": True}),
}


@pytest.mark.parametrize("name", CASES)
def test_on_a_gpu(name: str) -> None:
    arrays, how = CASES[name]
    op = operator(name.split()[0], arrays, how)
    wanted = interpreter.evaluate(op, arrays)[0]
    target = GPUS["jetson-nano"]
    found = choices(op, target)
    assert len(found) == 1 + name.startswith("top_k")
    for choice in found:
        np.testing.assert_allclose(run(op, arrays, target, choice), wanted, 1e-6)


def test_each_element_of_a_long_row_finds_its_place() -> None:
    op = operator("top_k", [np.zeros((1, 8400), np.float32)], {"k": 300})
    best = min(choices(op, GPUS["jetson-orin"]), key=lambda choice: choice.seconds)
    assert best.primitive == "top_k_ranks"
