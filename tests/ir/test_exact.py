"""Which values are the same to the bit on every machine."""

from __future__ import annotations

from typing import Any

import pytest

from secateur.ir.exact import exact_values
from secateur.ir.graph import Graph, Value
from secateur.ir.registry import create
from secateur.ir.types import DType, TensorType

IMAGE = TensorType((1, 1, 2, 2), DType.F32)
RESIZE = {"shape": (1, 1, 4, 4), "scales": (1.0, 1.0, 2.0, 2.0)}


@pytest.mark.parametrize(
    ("name", "attributes", "is_exact"),
    [
        ("nn.relu", {}, True),
        ("nn.transpose", {"perm": (0, 1, 3, 2)}, True),
        ("nn.resize", {**RESIZE, "mode": "nearest"}, True),
        ("nn.resize", {**RESIZE, "mode": "linear"}, False),
        ("nn.exp", {}, False),
    ],
)
def test_what_mixes_floats_is_not_exact(name: str, attributes: dict[str, Any], is_exact: bool) -> None:
    graph = Graph("net")
    x: Value = graph.add_input(IMAGE, "x")
    y = graph.append(create(name, [x], attributes)).result
    graph.set_outputs([y], ["y"])
    assert (y in exact_values(graph)) is is_exact
