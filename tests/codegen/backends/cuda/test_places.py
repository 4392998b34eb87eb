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
CASES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "scatter": ([rand(2, 9, 3), np.array([[8, -9, 8], [0, 1, 2]]), rand(2, 3, 3)], {"reduction": "add"}),
    "top_k": ([whole(2, 19, dtype=np.float32)], {"k": 7}),
    "max_pool_index": ([whole(1, 2, 6, 5, dtype=np.float32)], WINDOW),
    "cumsum": ([whole(2, 5, 3, dtype=np.float32)], {"axis": 1, "reverse": True}),
}


@pytest.mark.parametrize("name", CASES)
def test_on_a_gpu(name: str) -> None:
    arrays, how = CASES[name]
    op = operator(name, arrays, how)
    wanted = interpreter.evaluate(op, arrays)[0]
    target = GPUS["jetson-nano"]
    (choice,) = choices(op, target)
    np.testing.assert_allclose(run(op, arrays, target, choice), wanted, 1e-6)
