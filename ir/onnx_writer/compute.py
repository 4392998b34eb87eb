"""Operators that multiply or reduce; an `add` right after a product becomes the bias it came from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..elementwise import Epilogue
from ..errors import ModelError
from ..graph import Operator, Value, constant_of
from .constants import bias_of, is_bias, is_gemm, is_transposed_matrix
from .elementwise import with_epilogue
from .writer import Write, Writer, plain


def _convolution(type: str) -> Write:
    def write(w: Writer, op: Operator, operands: list[str], _: str) -> None:
        if not op.result.type.dtype.is_float:
            raise ModelError(f"{op!r}: ONNX has no convolution of {op.result.type.dtype.value}")
        attributes = {name: op[name] for name in ("strides", "pads", "dilations")}
        if type == "ConvTranspose":
            attributes["output_padding"] = op["output_padding"]
        operands = _reaching(w, op, operands) if op.get("reach") else operands
        bias = bias_of(op)
        taken = 0 if bias is None else 1
        inputs = operands[:2] if bias is None else [*operands[:2], _bias(w, bias, operands)]
        with_epilogue(
            w,
            op,
            type,
            inputs,
            op["epilogue"][taken:],
            operands[2 + taken :],
            **attributes,
            group=op["groups"],
        )

    return write


def _reaching(w: Writer, op: Operator, operands: list[str]) -> list[str]:
    """The last operand cut to the channels that it reaches the result with, among zeros."""
    at, source, count = op["reach"]
    last, channels, rank = operands[-1], op.result.type.shape[1], op.result.type.rank
    bounds = [w.integers([n]) for n in (source, source + count, 1)]  # begin, end, axis
    last = w.node("Slice", [last, *bounds], op)
    begins, ends = ([n if i == 1 else 0 for i in range(rank)] for n in (at, channels - at - count))
    return [*operands[:-1], w.node("Pad", [last, w.integers([*begins, *ends])], op)]


def _bias(w: Writer, bias: Value, operands: Sequence[str]) -> str:
    """The tensor of a convolution's bias; its own where other operators have the constant otherwise."""
    array = constant_of(bias)
    assert array is not None, "a bias is constant"
    return operands[2] if is_bias(bias) else w.constant(array.reshape(-1), f"{operands[1]}/bias")


def _matmul(w: Writer, op: Operator, operands: list[str], _: str) -> None:
    steps: Epilogue = op["epilogue"]
    biased = 1 if is_gemm(op) and steps and steps[0].op == "add" else 0
    turned = {"transB": 1} if is_transposed_matrix(op.operands[1]) else {}
    type = "Gemm" if biased or turned else "MatMul"
    taken = 2 + biased
    with_epilogue(w, op, type, operands[:taken], steps[biased:], operands[taken:], **turned)


def pool(type: str) -> Write:
    def write(w: Writer, op: Operator, operands: list[str], result: str) -> None:
        attributes = {name: op[name] for name in ("strides", "pads")}
        if any(step > 1 for step in op["dilations"]):
            attributes["dilations"] = op["dilations"]  # which an average has since opset 19
        if type == "AveragePool":
            attributes["count_include_pad"] = int(op["count_include_pad"])
        w.node(
            type,
            operands,
            op,
            result,
            kernel_shape=op["kernel"],
            ceil_mode=int(op["ceil_mode"]),
            **attributes,
        )

    return write


def _layer_norm(w: Writer, op: Operator, operands: list[str], result: str) -> None:
    """ONNX Runtime wants scale and bias as large as what is normalized."""
    x = op.operands[0].type
    shape = x.shape[op["axis"] % x.rank :]
    for i in (1, 2):
        if op.operands[i].type.shape != shape:
            operands[i] = w.node("Expand", [operands[i], w.integers(shape)], op)
    w.node("LayerNormalization", operands, op, result, axis=op["axis"], epsilon=op["epsilon"])


_COMPOSITES = {
    "l1": "ReduceL1", "l2": "ReduceL2", "sum_square": "ReduceSumSquare", "log_sum": "ReduceLogSum",
}  # fmt: skip


def _reduction(type: str) -> Write:
    """Over no axes what is not the identity is still the function of each element."""

    def write(w: Writer, op: Operator, operands: list[str], result: str) -> None:
        if not op["axes"] and type not in _COMPOSITES.values():
            w.node("Identity", operands, op, result)
            return
        if not op["axes"]:
            w.node(type, operands, op, result, keepdims=int(op["keepdims"]), noop_with_empty_axes=1)
            return
        w.node(type, [*operands, w.integers(op["axes"])], op, result, keepdims=int(op["keepdims"]))

    return write


def _cumsum(w: Writer, op: Operator, operands: list[str], result: str) -> None:
    axis = w.constant(np.array(op["axis"]))
    how = {name: int(op[name]) for name in ("exclusive", "reverse")}
    w.node("CumSum", [*operands, axis], op, result, **how)


def _top_k(w: Writer, op: Operator, operands: list[str], result: str) -> None:
    how = {"axis": op["axis"], "largest": int(op["largest"])}
    w.second("TopK", [*operands, w.integers([op["k"]])], op, result, **how)


def _max_pool_index(w: Writer, op: Operator, operands: list[str], result: str) -> None:
    """ONNX counts places in the whole tensor."""
    how = {name: op[name] for name in ("strides", "pads", "dilations")}
    ceil = int(op["ceil_mode"])
    places = w.second("MaxPool", operands, op, "", kernel_shape=op["kernel"], ceil_mode=ceil, **how)
    n, c, *plane = op.operands[0].type.shape
    starts = np.arange(n * c).reshape(n, c, *[1] * len(plane)) * math.prod(plane)
    w.node("Sub", [places, w.constant(starts)], op, result)


WRITERS: dict[str, Write] = {
    **{
        f"nn.reduce_{kind}": _reduction(f"Reduce{kind.title()}")
        for kind in ("mean", "sum", "prod", "max", "min")
    },
    **{f"nn.reduce_{kind}": _reduction(type) for kind, type in _COMPOSITES.items()},
    "nn.conv": _convolution("Conv"),
    "nn.conv_transpose": _convolution("ConvTranspose"),
    "nn.matmul": _matmul,
    "nn.max_pool": pool("MaxPool"),
    "nn.average_pool": pool("AveragePool"),
    "nn.batch_norm": plain("BatchNormalization", epsilon="epsilon"),
    "nn.instance_norm": plain("InstanceNormalization", epsilon="epsilon"),
    "nn.layer_norm": _layer_norm,
    "nn.lrn": plain("LRN", size="size", alpha="alpha", beta="beta", bias="bias"),
    "nn.softmax": plain("Softmax", axis="axis"),
    "nn.log_softmax": plain("LogSoftmax", axis="axis"),
    "nn.cumsum": _cumsum,
    "nn.top_k": _top_k,
    "nn.max_pool_index": _max_pool_index,
    "nn.argmax": plain("ArgMax", axis="axis", keepdims="keepdims", select_last="select_last_index"),
}
