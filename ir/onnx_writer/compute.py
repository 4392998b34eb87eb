"""Operators that multiply or reduce; an `add` right after a product becomes the bias it came from."""

from __future__ import annotations

from ..elementwise import Epilogue
from ..errors import ModelError
from ..graph import Operator, constant_of
from .elementwise import with_epilogue
from .writer import Array, Write, Writer, plain


def _constant_bias(op: Operator) -> Array | None:
    """The constant C elements that a convolution's epilogue adds first, if it does."""
    steps: Epilogue = op["epilogue"]
    if not steps or steps[0].op != "add":
        return None
    extra, channels = op.operands[2], op.result.type.shape[1]
    per_channel = (channels, *[1] * (op.result.type.rank - 2))
    array = constant_of(extra)
    fits = extra.type.shape in (per_channel, (1, *per_channel))
    return array.reshape(channels) if fits and array is not None else None


def _convolution(type: str) -> Write:
    def write(w: Writer, op: Operator, operands: list[str], _: str) -> None:
        if not op.result.type.dtype.is_float:
            raise ModelError(f"{op!r}: ONNX has no convolution of {op.result.type.dtype.value}")
        attributes = {name: op[name] for name in ("strides", "pads", "dilations")}
        if type == "ConvTranspose":
            attributes["output_padding"] = op["output_padding"]
        bias = _constant_bias(op)
        taken = 0 if bias is None else 1
        inputs = operands[:2] if bias is None else [*operands[:2], w.constant(bias, f"{operands[1]}/bias")]
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


def _matmul(w: Writer, op: Operator, operands: list[str], _: str) -> None:
    steps: Epilogue = op["epilogue"]
    plain = op.operands[0].type.rank == 2 and op.operands[1].type.rank == 2 and op.result.type.dtype.is_float
    if plain and steps and steps[0].op == "add":
        with_epilogue(w, op, "Gemm", operands[:3], steps[1:], operands[3:])
    else:
        with_epilogue(w, op, "MatMul", operands[:2], steps, operands[2:])


def pool(type: str) -> Write:
    def write(w: Writer, op: Operator, operands: list[str], result: str) -> None:
        attributes = {name: op[name] for name in ("strides", "pads", "dilations")}
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
    "nn.argmax": plain("ArgMax", axis="axis", keepdims="keepdims", select_last="select_last_index"),
}
