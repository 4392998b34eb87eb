"""Scale 0, which quantizers write for a channel that is all 0: whatever is stored there stands for 0."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.ir.errors import ModelError
from secateur.ir.interpreter import run
from secateur.ir.onnx_reader import read_model
from tests.onnx.models import Array, operators
from tests.onnx.test_quantized import (
    CONV_WEIGHTS,
    I8,
    MATRIX,
    U8,
    apart,
    by_onnxruntime,
    bytes_of,
    exactly,
    integer,
    model,
)

DEAD = np.array([0.002, 0, 0.004, -0.0, 0.001, 0.01], np.float32)
CONV = "y = QLinearConv<pads=[1,1,0,0], group=2>(a, as, az, w, ws, wz, ys, yz, c)"

HALVES = {"w": bytes_of((6, 4, 1, 1), "int8", 1), "ws": DEAD, "wz": np.zeros(6, np.int8),
          "c": np.arange(-3000, 3000, 1000).astype(np.int32), "cs": DEAD * np.float32(0.02),
          "cz": np.zeros(6, np.int32)}  # fmt: skip
QDQ = """r = DequantizeLinear (a, as, az) v = DequantizeLinear <axis = 0> (w, ws, wz)
  b = DequantizeLinear <axis = 0> (c, cs, cz) s = Conv (r, v, b) y = QuantizeLinear (s, ys, yz)"""

MODELS = [
    (CONV, {**CONV_WEIGHTS, "ws": DEAD}, "q.linear_conv"),
    (CONV, {**CONV_WEIGHTS, "ws": np.zeros(6, np.float32)}, None),
    (QDQ, HALVES, "q.linear_conv"),
    ("y = QLinearMatMul(a, as, az, w, ws, wz, ys, yz)", {**MATRIX, "ws": np.array(0, np.float32)}, None),
]


@pytest.mark.parametrize(("body", "constants", "left"), MODELS)
@pytest.mark.parametrize("stored", ["u8", "i8"])
def test_a_channel_of_scale_0_is_0(
    body: str, constants: dict[str, Array], left: str | None, stored: str
) -> None:
    dtype, scales = ("uint8", U8) if stored == "u8" else ("int8", I8)
    shape = "5,30" if "MatMul" in body else "1,4,9,9"
    used = {n: a for n, a in {**scales, **constants}.items() if f"{n}," in body or f"{n})" in body}
    proto = model(body, f"{dtype}[{shape}] a", used)
    x = {"a": bytes_of(tuple(map(int, shape.split(","))), dtype, 3)}
    moved, _ = apart(proto, x, by_onnxruntime if body == QDQ else exactly)
    assert moved <= 1
    if left is not None:
        assert left in operators(integer(proto))


@pytest.mark.parametrize("scale", [np.float32(0), np.array([0.5, 0, 2], np.float32)])
def test_values_computed_at_scale_0_are_0(scale: Array) -> None:
    zeros = np.full(np.shape(scale), 3, np.int8)
    body = "q = QuantizeLinear <axis = 1> (x, s, z) y = DequantizeLinear <axis = 1> (q, s, z)"
    graph = read_model(model(body, "float[1,3,4] x", {"s": np.asarray(scale), "z": zeros}))
    found = run(graph, {"x": np.full((1, 3, 4), 4.0, np.float32)})["y"]
    wanted = np.broadcast_to(np.where(scale == 0, 0, 4).astype(np.float32).reshape(-1, 1), (3, 4))
    np.testing.assert_array_equal(found[0], wanted)


@pytest.mark.parametrize("scale", [-1.0, np.nan, np.inf])
def test_other_scales_are_refused_as_before(scale: float) -> None:
    proto = model(
        "y = DequantizeLinear (w, s)",
        "float[1] x",
        {"w": bytes_of((4,), "int8"), "s": np.array(scale, np.float32)},
    )
    with pytest.raises(ModelError, match="scales must be finite and positive"):
        read_model(proto)
