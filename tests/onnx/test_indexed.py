"""Gathering and scattering by indices in several axes, against ONNX Runtime, and what is refused."""

from __future__ import annotations

import pytest

from secateur.ir.errors import ModelError
from secateur.ir.onnx_reader import read_model
from tests.onnx.models import assert_as_onnxruntime, model

HEAD = """<int64[2,3,2] two = {0, 2, 0, -1, 0, 0, 0, 1, -1, 1, 0, 1}, int64[2,1] far = {0, 1},
int64[2,4] all = {0, 1, 2, -3, 0, -1, 7, 0}, int64[2,2] rows = {0, 2, 0, -3}, int64[1,2] past = {0, 3},
int64[1,2,2,3] along = {0, 7, -1, 3, 3, 2, 5, -8, 1, 0, 0, 4},
int64[1,2,2,3] apart = {0, 7, -3, 3, 4, 2, 5, -8, 1, 0, 6, 4}>"""
TAKEN = [
    "y = GatherND (x, two)",
    "y = GatherND (x, all)",
    "y = GatherElements <axis = 3> (x, along)",
    "y = GatherElements <axis = -2> (x, along)",
    "a = GatherND (x, rows) b = Neg (a) y = ScatterND (x, rows, b)",
    "a = GatherND (x, all) b = Neg (a) y = ScatterND (x, all, b)",
    "a = GatherElements <axis = 2> (x, along) b = Neg (a) y = ScatterElements <axis = 3> (x, apart, b)",
]
NOT = [
    ("y = GatherND (x, past)", "an index is outside the axes of extents 1x3"),
    ("y = GatherND (x, far)", "an index is outside the axes of extents 1"),
    ("y = GatherND <batch_dims = 1> (x, two)", "do not fit a tensor of shape 1x3x8x8"),
    ("y = GatherND <batch_dims = 9> (x, two)", "do not fit a tensor of shape 1x3x8x8"),
    ("y = GatherElements <axis = 1> (x, along)", "an index is outside the axes of extents 3"),
    ("y = ScatterND (x, two, x)", "updates of shape 1x3x8x8 do not fit"),
    ("a = GatherND (x, all) y = ScatterND <reduction = \"pow\"> (x, all, a)", "'reduction' is 'pow'"),
]  # fmt: skip


@pytest.mark.parametrize("nodes", TAKEN)
def test_known_indices(nodes: str) -> None:
    proto = model(f"{HEAD} {{ {nodes} }}", 18)
    assert_as_onnxruntime(proto, read_model(proto))


@pytest.mark.parametrize(("nodes", "message"), NOT)
def test_what_is_refused(nodes: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read_model(model(f"{HEAD} {{ {nodes} }}", 18))
