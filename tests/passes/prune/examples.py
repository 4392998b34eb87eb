"""Examples of every operator, with the axes that may lose channels."""

from __future__ import annotations

from typing import Any

import numpy as np

from secateur.ir.elementwise import FUNCTIONS, Function, Step
from secateur.ir.types import DType, Quant

from .closed import Example, Operand, byte, constant, positive, real, weights

_SAME: dict[str, Any] = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1)}
_STRIDED: dict[str, Any] = {"strides": (2, 2), "pads": (0, 0, 0, 0), "dilations": (1, 1)}
_POOL: dict[str, Any] = {"kernel": (3, 3), **_SAME}
_BYTES: dict[str, Any] = {"scales": (0.1,), "zero_points": (90,)}
_IMAGE = real(2, 6, 4, 5)
_ADDED: dict[str, Any] = {"epilogue": (Step("add"), Step("relu"))}


def _elementwise(row: Function) -> Example:
    kind = positive if row.name in ("log", "sqrt", "pow", "rpow") else real
    operands = [kind(2, 3, 4), *[kind(3, 1)] * (row.arity - 1)]
    free = "0.0 =.0 | 0.1 1.0 =.1 | 0.2 =.2" if row.arity == 2 else "0.0 =.0 | 0.1 =.1 | 0.2 =.2"
    return Example(f"nn.{row.name}", operands, free)


def _compared(name: str, dtype: DType) -> Example:
    return Example(f"nn.{name}", [Operand((3, 4), dtype), Operand((4,), dtype)], "0.0 =.0 | 0.1 1.0 =.1")


ELEMENTWISE = (
    *map(_elementwise, FUNCTIONS.values()),
    *(_compared(name, DType.F32) for name in ("equal", "greater", "greater_equal", "less", "less_equal")),
    *(_compared(name, DType.BOOL) for name in ("and", "or", "xor")),
    Example("nn.not", [Operand((3, 4), DType.BOOL)], "0.0 =.0 | 0.1 =.1"),
    Example("nn.map", [real(3, 4), real(4)], "0.0 =.0 | 0.1 1.0 =.1", _ADDED),
    Example("nn.cast", [Operand((3, 4), scale=9.0)], "0.0 =.0 | 0.1 =.1", {"dtype": DType.I32}),
    Example("nn.where", [Operand((4,), DType.BOOL), real(3, 4), real(3, 1)], "0.0 1.1 =.1 | 1.0 2.0 =.0"),
)

LINEAR = (
    Example("nn.conv", [_IMAGE, real(8, 6, 3, 3)], "0.0 =.0 | 0.1 1.1 | 1.0 =.1", _SAME),
    Example("nn.conv", [_IMAGE, real(8, 3, 3, 3)], "0.0 =.0 | 0.1 1.1 | 1.0 =.1", {**_SAME, "groups": 2}),
    Example("nn.conv", [_IMAGE, real(6, 1, 3, 3)], "0.0 =.0 | 0.1 1.0 =.1", {**_SAME, "groups": 6}),
    Example("nn.conv", [_IMAGE, real(18, 1, 3, 3)], "0.0 =.0 | 0.1 1.0 =.1", {**_SAME, "groups": 6}),
    Example(
        "nn.conv",
        [_IMAGE, real(8, 6, 3, 3), real(8, 4, 1)],
        "0.0 =.0 | 0.1 1.1 | 1.0 2.0 =.1",
        {**_SAME, **_ADDED},
    ),
    Example(
        "nn.conv_transpose",
        [_IMAGE, real(6, 8, 2, 2)],
        "0.0 =.0 | 0.1 1.0 | 1.1 =.1",
        {**_STRIDED, "output_padding": (0, 0)},
    ),
    Example(
        "nn.conv_transpose",
        [_IMAGE, real(6, 4, 2, 2)],
        "0.0 =.0 | 0.1 1.0 | 1.1 =.1",
        {**_STRIDED, "output_padding": (0, 0), "groups": 2},
    ),
    Example(
        "nn.conv_transpose",
        [_IMAGE, real(6, 2, 2, 2)],
        "0.0 =.0 | 0.1 1.0 =.1",
        {**_STRIDED, "output_padding": (1, 0), "groups": 6},
    ),
    Example("nn.matmul", [real(3, 4), real(4, 5)], "0.0 =.0 | 0.1 1.0 | 1.1 =.1"),
    Example("nn.matmul", [real(2, 3, 4), real(4)], "0.0 =.0 | 0.1 =.1 | 0.2 1.0"),
    Example("nn.matmul", [real(4), real(2, 4, 3)], "0.0 1.1 | 1.0 =.0 | 1.2 =.1"),
    Example(
        "nn.matmul",
        [real(2, 3, 4), real(7, 1, 4, 5), real(5)],
        "0.0 =.1 | 0.1 =.2 | 0.2 1.2 | 1.0 =.0 | 1.3 2.0 =.3",
        _ADDED,
    ),
    Example("nn.max_pool", [_IMAGE], "0.0 =.0 | 0.1 =.1", _POOL),
    Example("nn.max_pool_index", [_IMAGE], "0.0 =.0 | 0.1 =.1", _POOL),
    Example("nn.average_pool", [_IMAGE], "0.0 =.0 | 0.1 =.1", {**_POOL, "count_include_pad": True}),
)

MOVEMENT = (
    Example("nn.constant", [], "", {"value": np.ones((3, 4), np.float32)}),
    Example("nn.reshape", [real(2, 6, 4)], "0.0 =.0 | 0.1 =.1 | 0.2 =.3", {"shape": (2, 6, 1, 4)}),
    Example("nn.reshape", [real(2, 6, 4)], "0.0 =.0 | 0.1 =.1", {"shape": (2, 24)}),
    Example("nn.reshape", [real(2, 24)], "0.0 =.0 | 0.1 =.2", {"shape": (2, 6, 4)}),
    Example("nn.reshape", [real(4, 6)], "", {"shape": (8, 3)}),
    Example("nn.transpose", [real(2, 3, 4)], "0.0 =.2 | 0.1 =.0 | 0.2 =.1", {"perm": (1, 2, 0)}),
    Example("nn.expand", [real(3, 1, 4)], "0.0 =.1 | 0.2 =.3 | =.2", {"shape": (5, 3, 2, 4)}),
    Example("nn.tile", [real(3, 4)], "0.0 =.0 | 0.1 =.1", {"repeats": (1, 3)}),
    Example("nn.carry", [real(2, 5, 3)], "0.0 =.0 | 0.1 | 0.2 =.2 | =.1", {"ranges": (3, 5, 0, 2)}),
    Example(
        "nn.channel_sum",
        [real(2, 4, 3), real(2, 3, 3)],
        "0.0 1.0 =.0 | 0.1 | 0.2 1.2 =.2 | 1.1 | =.1",
        {"channels": 5, "ranges": (0, 4, 4, 5, 1, 3)},
    ),
    Example("nn.concat", [real(2, 3), real(2, 4)], "0.0 1.0 =.0 | 0.1 =.1 | 1.1 =.1", {"axis": -1}),
    Example(
        "nn.slice",
        [real(9, 9, 9)],
        "0.0 | 0.0 =.0 | 0.1 | 0.1 =.1 | 0.2 | 0.2 =.2",
        {"starts": (2, 7, 1), "sizes": (4, 5, 3), "steps": (1, -1, 3)},
    ),
    Example(
        "nn.gather",
        [real(2, 7, 3), Operand((5,), DType.I64, None, True, (6, 1, -7, 1, 2))],
        "0.0 =.0 | 0.1 | 0.1 1.0 =.1 | 0.2 =.2",
        {"axis": 1},
    ),
    Example(
        "nn.gather",
        [real(7, 3), Operand((1, 3), DType.I64, None, True, (6, 1, 3))],
        "0.1 =.2 | 1.1 =.1",
    ),
    Example(
        "nn.scatter",
        [real(2, 7, 3), Operand((2, 2), DType.I64, None, True, (6, 1, 3, 0)), real(2, 2, 3)],
        "0.0 1.0 2.0 =.0 | 0.2 2.2 =.2",
    ),
    Example(
        "nn.pad",
        [real(2, 6, 5)],
        "0.0 =.0 | 0.1 | 0.1 =.1 | 0.2 =.2 | =.2",
        {"pads": (0, 2, 1, 0, -3, 0), "value": 0.5},
    ),
    Example("nn.pad", [real(2, 6, 5)], "0.0 =.0 | 0.1 =.1", {"pads": (0, 0, 1, 0, 0, 1), "mode": "reflect"}),
    Example(
        "nn.resize",
        [_IMAGE],
        "0.0 =.0 | 0.1 =.1",
        {"shape": (2, 6, 8, 10), "scales": (1.0, 1.0, 2.0, 2.0), "mode": "linear"},
    ),
    Example("nn.depth_to_space", [real(1, 12, 2, 3)], "0.1 =.1", {"block": 2}),
    Example("nn.depth_to_space", [real(1, 12, 2, 3)], "0.1 =.1", {"block": 2, "mode": "CRD"}),
    Example("nn.space_to_depth", [real(1, 3, 4, 6)], "0.1 =.1", {"block": 2}),
    Example("nn.space_to_depth", [real(1, 3, 4, 6)], "0.1 =.1", {"block": 2, "mode": "CRD"}),
    Example("nn.relayout", [real(3, 4)], "0.0 =.0 | 0.1 =.1"),
    Example("nn.grid_sample", [_IMAGE, real(2, 3, 3, 2)], "0.0 1.0 =.0 | 0.1 =.1"),
)

REDUCED = (
    *(
        Example(
            f"nn.reduce_{name}",
            [positive(3, 4, 5)],
            "0.0 =.0 | 0.1 | 0.2 =.1",
            {"axes": (1,), "keepdims": False},
        )
        for name in ("sum", "l1", "l2", "sum_square", "log_sum")
    ),
    *(
        Example(f"nn.reduce_{name}", [real(3, 4, 5)], "0.0 =.0 | 0.2 =.2", {"axes": (-2,)})
        for name in ("mean", "max", "min", "prod")
    ),
    Example("nn.argmax", [real(3, 4)], "0.0 =.0", {"axis": 1}),
    Example("nn.top_k", [real(3, 4)], "0.0 =.0", {"k": 2}),
    Example("nn.cumsum", [real(3, 4)], "0.1 =.1", {"axis": 0}),
)

NORMALIZED = (
    Example(
        "nn.batch_norm",
        [_IMAGE, real(6), real(6), real(6), positive(6)],
        "0.0 =.0 | 0.1 1.0 2.0 3.0 4.0 =.1 | 0.2 =.2 | 0.3 =.3",
    ),
    Example("nn.instance_norm", [_IMAGE, real(6), real(6)], "0.0 =.0 | 0.1 1.0 2.0 =.1"),
    Example("nn.layer_norm", [real(3, 4, 5), real(5), real(4, 1)], "0.0 =.0", {"axis": 1}),
    Example("nn.lrn", [_IMAGE], "0.0 =.0 | 0.2 =.2 | 0.3 =.3", {"size": 3}),
    Example("nn.softmax", [real(3, 4)], "0.0 =.0", {"axis": 1}),
    Example("nn.log_softmax", [real(3, 4)], "0.1 =.1", {"axis": 0}),
)

_CHANNELWISE: dict[str, Any] = {"scales": (0.1, 0.2, 0.3), "zero_points": (1, 2, 3), "axis": 1}

QUANTIZED = (
    Example("q.quantize", [real(2, 3)], "0.0 =.0 | 0.1 =.1", {**_CHANNELWISE, "dtype": DType.U8}),
    Example("q.dequantize", [byte(2, 3)], "0.0 =.0 | 0.1 =.1"),
    Example("q.annotate", [Operand((2, 3), DType.U8)], "0.0 =.0 | 0.1 =.1", _CHANNELWISE),
    Example("q.table", [byte(2, 3), constant(DType.U8, 256)], "0.0 =.0 | 0.1 =.1", _BYTES),
    Example(
        "q.linear_conv",
        [byte(2, 6, 4, 5), weights(0, 8, 6, 3, 3), constant(DType.I32, 8)],
        "0.0 =.0 | 0.1 1.1 | 1.0 2.0 =.1",
        {**_SAME, **_BYTES},
    ),
    Example(
        "q.linear_conv",
        [byte(2, 6, 4, 5), weights(0, 6, 1, 3, 3), constant(DType.I32, 6), byte(2, 6, 4, 5)],
        "0.0 3.0 =.0 | 0.1 1.0 2.0 3.1 =.1",
        {**_SAME, **_BYTES, "groups": 6},
    ),
    Example(
        "q.linear_matmul",
        [byte(3, 4), weights(1, 4, 5), constant(DType.I32, 5)],
        "0.0 =.0 | 0.1 1.0 | 1.1 2.0 =.1",
        _BYTES,
    ),
    Example("q.linear_add", [byte(2, 3), byte(2, 1)], "0.0 1.0 =.0 | 0.1 =.1", _BYTES),
    Example("q.linear_mul", [byte(2, 3), byte(2, 1)], "0.0 1.0 =.0 | 0.1 =.1", _BYTES),
    Example(
        "q.linear_prelu", [byte(2, 3, 4), constant(DType.F32, 3)], "0.0 =.0 | 0.1 1.0 =.1 | 0.2 =.2", _BYTES
    ),
    Example("q.tflite_softmax", [byte(2, 3, 4)], "0.0 =.0 | 0.2 =.2", {"axis": 1}),
    Example("q.tflite_sub", [byte(2, 3), byte(2, 1)], "0.0 1.0 =.0 | 0.1 =.1", _BYTES),
    Example("q.tflite_maximum", [byte(2, 3), byte(2, 1)], "0.0 1.0 =.0 | 0.1 =.1"),
    Example("q.tflite_minimum", [byte(2, 3), byte(2, 1)], "0.0 1.0 =.0 | 0.1 =.1"),
    Example("q.tflite_matmul", [byte(3, 4), byte(4, 5)], "0.0 =.0 | 0.1 1.0 | 1.1 =.1", _BYTES),
    Example(
        "q.tflite_prelu",
        [byte(2, 3, 4), Operand((3,), DType.I8, Quant((0.01,), (0,)), True)],
        "0.0 =.0 | 0.1 1.0 =.1 | 0.2 =.2",
        _BYTES,
    ),
    Example(
        "q.tflite_conv_transpose",
        [byte(2, 6, 4, 5), weights(1, 6, 8, 3, 3), constant(DType.I32, 8)],
        "0.0 =.0 | 0.1 1.0 | 1.1 2.0 =.1",
        {**_SAME, **_BYTES, "output_padding": (0, 0)},
    ),
    Example("q.tflite_resize", [byte(2, 3, 4, 4)], "0.0 =.0 | 0.1 =.1", {"shape": (7, 5)}),
    Example("q.linear_average_pool", [byte(2, 3, 4, 4)], "0.0 =.0 | 0.1 =.1", {**_POOL, **_BYTES}),
    Example(
        "q.winograd_conv",
        [
            byte(2, 6, 4, 5),
            Operand((16, 8, 6), DType.I8, None, True),
            Operand((16, 6), DType.I16, constant=True, scale=300),
            Operand((16, 8), constant=True, scale=1e-5),
            constant(DType.F32, 8),
            byte(2, 8, 4, 5),
        ],
        "0.0 5.0 =.0 | 0.1 1.2 2.1 | 1.1 3.1 4.0 5.1 =.1",
        {"tile": (2, 2), "pads": (1, 1, 1, 1), **_BYTES},
    ),
)

_LSTM: dict[str, Any] = {"activations": (Step("sigmoid"), Step("tanh"), Step("tanh"))}

RECURRENT = (
    Example(
        "nn.lstm",
        [real(3, 2, 32), real(2, 4, 16), real(2, 2, 4), real(2, 2, 4), real(2, 12)],
        "0.1 2.1 3.1 =.2 | 0.2 1.1 1.2 2.2 3.2 4.1 =.3",
        {**_LSTM, "direction": "bidirectional", "last_cell": True},
    ),
    *(
        Example(
            "nn.gru",
            [real(3, 2, 12), real(1, 4, 12), real(1, 2, 4), real(1, 4)],
            "0.1 2.1 =.2 | 0.2 1.1 1.2 2.2 3.1 =.3",
            {"activations": (Step("sigmoid"), Step("tanh")), "reset_after": after},
        )
        for after in (False, True)
    ),
    Example(
        "nn.rnn",
        [real(3, 2, 4), real(1, 4, 4), real(1, 2, 4)],
        "0.1 2.1 =.2 | 0.2 1.1 1.2 2.2 =.3",
        {"activations": (Step("tanh"),)},
    ),
)

EXAMPLES = (*ELEMENTWISE, *LINEAR, *MOVEMENT, *REDUCED, *NORMALIZED, *QUANTIZED, *RECURRENT)
