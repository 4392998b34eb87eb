"""Writes a graph of `nn.` and `q.` operators as an ONNX model that opens in Netron and runs in ONNX Runtime.

Epilogues are expanded into nodes; an `add` right after a convolution or a
matrix product becomes the bias it came from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from .elementwise import Epilogue, Step
from .errors import ModelError
from .graph import Graph, Operator, Value
from .onnx_reader.resize import POLICIES, policy_target, scaled_shape
from .types import DType, Quant, TensorType

OPSET = 22
IR_VERSION = 10

Array = NDArray[Any]


def to_onnx(graph: Graph) -> ModelProto:
    """The model; ModelError for an operator that ONNX cannot say (a chosen primitive, for one)."""
    writer = _Writer()
    for value in graph.inputs:
        writer.name(value, value.name or "input")
    writer.name_outputs(graph)
    for op in graph.operators:
        writer.operator(op)
    writer.outputs(graph)
    inputs = [_info(writer.names[v], v.type) for v in graph.inputs]
    outputs = [_info(n, v.type) for v, n in zip(graph.outputs, graph.output_names, strict=True)]
    proto = helper.make_graph(
        writer.nodes, graph.name, inputs, outputs, writer.initializers, value_info=writer.infos
    )
    return helper.make_model(
        proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="secateur"
    )


def _onnx_type(dtype: DType) -> int:
    return int(helper.np_dtype_to_tensor_dtype(dtype.numpy))


def _info(name: str, type: TensorType) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, _onnx_type(type.dtype), type.shape)


def _unique(wanted: str, taken: set[str]) -> str:
    """`wanted`, or with a number where it is taken; taken from now on."""
    name, count = wanted, 1
    while name in taken:
        count += 1
        name = f"{wanted}__{count}"
    taken.add(name)
    return name


@dataclass
class _Writer:
    """The parts of the model so far; `names` gives each value its tensor."""

    nodes: list[NodeProto] = field(default_factory=list)
    initializers: list[TensorProto] = field(default_factory=list)
    infos: list[onnx.ValueInfoProto] = field(default_factory=list)
    names: dict[Value, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    node_names: set[str] = field(default_factory=set)

    def fresh(self, wanted: str) -> str:
        return _unique(wanted, self.taken)

    def name(self, value: Value, wanted: str) -> str:
        if value not in self.names:
            self.names[value] = self.fresh(wanted)
        return self.names[value]

    def name_outputs(self, graph: Graph) -> None:
        """Outputs that operators compute get their names first, so that no other tensor has them."""
        self.taken.update(graph.output_names)
        for value, name in zip(graph.outputs, graph.output_names, strict=True):
            if value not in self.names:
                self.names[value] = name

    def outputs(self, graph: Graph) -> None:
        """An output that is an input, or returned twice, needs a node of its own."""
        for value, name in zip(graph.outputs, graph.output_names, strict=True):
            if self.names[value] != name:
                self.nodes.append(helper.make_node("Identity", [self.names[value]], [name]))

    def constant(self, array: Array, name: str = "constant") -> str:
        tensor = self.fresh(name)
        self.initializers.append(
            numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), tensor)
        )
        return tensor

    def integers(self, values: Sequence[int]) -> str:
        return self.constant(np.array(values, np.int64))

    def node(
        self, type: str, inputs: Sequence[str], op: Operator, result: str = "", **attributes: Any
    ) -> str:
        """A node computing `result` (a fresh tensor where it is not given)."""
        result = result or self.fresh(f"{self.names[op.results[0]]}/{type}")
        self.nodes.append(
            helper.make_node(type, list(inputs), [result], name=self.node_name(op), **attributes)
        )
        return result

    def node_name(self, op: Operator) -> str:
        """The operator's ONNX name; with a number for the second node that stands for it."""
        return _unique(op.loc or op.name, self.node_names)

    def operator(self, op: Operator) -> None:
        for value in op.results:
            self.name(value, value.name or "value")
        if op.name == "nn.constant":
            self.initializers.append(numpy_helper.from_array(np.array(op["value"]), self.names[op.result]))
            return
        write = _WRITERS.get(op.name)
        if write is None:
            raise ModelError(f"{op!r} has no ONNX form; write the graph before primitives are chosen")
        self.infos.append(_info(self.names[op.result], op.result.type))
        write(self, op, [self.names[v] for v in op.operands], self.names[op.result])


Write = Callable[[_Writer, Operator, list[str], str], None]

# element-wise


@dataclass(frozen=True)
class _Form:
    """A function's ONNX operator; `swapped` exchanges operands, `params` are attributes in order."""

    type: str
    params: tuple[str, ...] = ()
    swapped: bool = False
    fixed: tuple[tuple[str, str], ...] = ()


_FORMS: dict[str, _Form] = {
    "relu": _Form("Relu"), "leaky_relu": _Form("LeakyRelu", ("alpha",)), "elu": _Form("Elu", ("alpha",)),
    "sigmoid": _Form("Sigmoid"), "hard_sigmoid": _Form("HardSigmoid", ("alpha", "beta")),
    "hard_swish": _Form("HardSwish"), "tanh": _Form("Tanh"), "softplus": _Form("Softplus"),
    "mish": _Form("Mish"),
    "gelu": _Form("Gelu"), "gelu_tanh": _Form("Gelu", fixed=(("approximate", "tanh"),)), "erf": _Form("Erf"),
    "exp": _Form("Exp"), "log": _Form("Log"), "sqrt": _Form("Sqrt"), "neg": _Form("Neg"), "abs": _Form("Abs"),
    "add": _Form("Add"), "sub": _Form("Sub"), "rsub": _Form("Sub", swapped=True), "mul": _Form("Mul"),
    "div": _Form("Div"), "rdiv": _Form("Div", swapped=True), "pow": _Form("Pow"),
    "rpow": _Form("Pow", swapped=True),
    "min": _Form("Min"), "max": _Form("Max"), "prelu": _Form("PRelu"),
}  # fmt: skip


def _function(w: _Writer, op: Operator, step: Step, operands: list[str], result: str) -> str:
    """The node of one step applied to tensors; returns the tensor computed."""
    if step.op == "clip":
        dtype = op.result.type.dtype.numpy
        bounds = [w.constant(np.array(p, dtype)) if np.isfinite(p) else "" for p in step.params]
        return w.node("Clip", [*operands, *bounds], op, result)
    if step.op == "silu":
        return w.node("Mul", [*operands, w.node("Sigmoid", operands, op)], op, result)
    form = _FORMS[step.op]
    attributes = {**dict(zip(form.params, step.params, strict=True)), **dict(form.fixed)}
    return w.node(form.type, operands[::-1] if form.swapped else operands, op, result, **attributes)


def _elementwise(w: _Writer, op: Operator, operands: list[str], result: str) -> None:
    name = op.name.split(".")[1]
    if name == "prelu" and op.operands[0].type.shape != op.result.type.shape:
        operands = [w.node("Expand", [operands[0], w.integers(op.result.type.shape)], op), operands[1]]
    params = tuple(op[p.name] for p in op.definition.attributes)
    _function(w, op, Step(name, params), operands, result)


def _epilogue(w: _Writer, op: Operator, steps: Epilogue, x: str, extras: Sequence[str], result: str) -> None:
    """`steps` after tensor `x`; the last one computes `result`."""
    rest = iter(extras)
    for at, step in enumerate(steps):
        operands = [x, next(rest)] if step.function.arity == 2 else [x]
        x = _function(w, op, step, operands, result if at == len(steps) - 1 else "")


def _with_epilogue(
    w: _Writer,
    op: Operator,
    type: str,
    operands: list[str],
    steps: Epilogue,
    extras: list[str],
    **attributes: Any,
) -> None:
    """A node, then what is left of its epilogue."""
    result = w.names[op.result]
    made = w.node(type, operands, op, "" if steps else result, **attributes)
    _epilogue(w, op, steps, made, extras, result)


def _map(w: _Writer, op: Operator, operands: list[str], result: str) -> None:
    steps = op["epilogue"]
    if not steps:
        w.node("Identity", operands, op, result)
    _epilogue(w, op, steps, operands[0], operands[1:], result)


# operators that multiply


def _constant_bias(op: Operator) -> Array | None:
    """The constant C elements that a convolution's epilogue adds first, if it does."""
    steps: Epilogue = op["epilogue"]
    if not steps or steps[0].op != "add":
        return None
    extra, channels = op.operands[2], op.result.type.shape[1]
    per_channel = (channels, *[1] * (op.result.type.rank - 2))
    producer = extra.producer
    fits = extra.type.shape in (per_channel, (1, *per_channel))
    constant = producer is not None and producer.name == "nn.constant"
    return producer["value"].reshape(channels) if fits and constant and producer else None


def _convolution(type: str) -> Write:
    def write(w: _Writer, op: Operator, operands: list[str], _: str) -> None:
        if not op.result.type.dtype.is_float:
            raise ModelError(f"{op!r}: ONNX has no convolution of {op.result.type.dtype.value}")
        attributes = {name: op[name] for name in ("strides", "pads", "dilations")}
        if type == "ConvTranspose":
            attributes["output_padding"] = op["output_padding"]
        bias = _constant_bias(op)
        taken = 0 if bias is None else 1
        inputs = operands[:2] if bias is None else [*operands[:2], w.constant(bias, f"{operands[1]}/bias")]
        _with_epilogue(
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


def _matmul(w: _Writer, op: Operator, operands: list[str], _: str) -> None:
    steps: Epilogue = op["epilogue"]
    plain = op.operands[0].type.rank == 2 and op.operands[1].type.rank == 2 and op.result.type.dtype.is_float
    if plain and steps and steps[0].op == "add":
        _with_epilogue(w, op, "Gemm", operands[:3], steps[1:], operands[3:])
    else:
        _with_epilogue(w, op, "MatMul", operands[:2], steps, operands[2:])


def _pool(type: str) -> Write:
    def write(w: _Writer, op: Operator, operands: list[str], result: str) -> None:
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


# the rest


def _plain(type: str, **renamed: str) -> Write:
    """A node with the operator's attributes, under ONNX's names."""

    def write(w: _Writer, op: Operator, operands: list[str], result: str) -> None:
        values = {ours: op[ours] for ours in renamed}
        attributes = {renamed[k]: int(v) if isinstance(v, bool) else v for k, v in values.items()}
        w.node(type, operands, op, result, **attributes)

    return write


def _layer_norm(w: _Writer, op: Operator, operands: list[str], result: str) -> None:
    """ONNX Runtime wants scale and bias as large as what is normalized."""
    x = op.operands[0].type
    shape = x.shape[op["axis"] % x.rank :]
    for i in (1, 2):
        if op.operands[i].type.shape != shape:
            operands[i] = w.node("Expand", [operands[i], w.integers(shape)], op)
    w.node("LayerNormalization", operands, op, result, axis=op["axis"], epsilon=op["epsilon"])


def _reduction(type: str) -> Write:
    def write(w: _Writer, op: Operator, operands: list[str], result: str) -> None:
        if not op["axes"]:
            w.node("Identity", operands, op, result)
            return
        w.node(type, [*operands, w.integers(op["axes"])], op, result, keepdims=int(op["keepdims"]))

    return write


def _shaped(type: str, attribute: str, **fixed: int) -> Write:
    """A node whose second input is a list of integers."""

    def write(w: _Writer, op: Operator, operands: list[str], result: str) -> None:
        w.node(type, [*operands, w.integers(op[attribute])], op, result, **fixed)

    return write


def _slice(w: _Writer, op: Operator, operands: list[str], result: str) -> None:
    ends = [
        start + size * step for start, size, step in zip(op["starts"], op["sizes"], op["steps"], strict=True)
    ]
    before = [-d - 1 for d in op.operands[0].type.shape]  # the end of a slice that runs down to element 0
    ends = [b if e < 0 else e for e, b in zip(ends, before, strict=True)]
    ends = [start if size == 0 else e for start, size, e in zip(op["starts"], op["sizes"], ends, strict=True)]
    bounds = [w.integers(v) for v in (op["starts"], ends, range(len(ends)), op["steps"])]
    w.node("Slice", [*operands, *bounds], op, result)


def _pad(w: _Writer, op: Operator, operands: list[str], result: str) -> None:
    value = w.constant(np.array(op["value"]).astype(op.result.type.dtype.numpy))
    w.node("Pad", [*operands, w.integers(op["pads"]), value], op, result, mode=op["mode"])


def _resize(w: _Writer, op: Operator, operands: list[str], result: str) -> None:
    target, policy = _resize_target(w, op)
    roi = w.constant(np.array(op["roi"], np.float32)) if op["roi"] else ""
    attributes = {
        "mode": op["mode"],
        "coordinate_transformation_mode": op["coordinates"],
        "nearest_mode": op["rounding"],
        "cubic_coeff_a": op["cubic_coeff"],
        "exclude_outside": int(op["exclude_outside"]),
        "antialias": int(op["antialias"]),
        "extrapolation_value": op["extrapolation"],
    }
    w.node("Resize", [*operands, roi, *target], op, result, **policy, **attributes)


def _resize_target(w: _Writer, op: Operator) -> tuple[list[str], dict[str, Any]]:
    """Inputs scales and sizes, and attributes, that ONNX turns into the operator's shape and scales."""
    x, shape, scales = op.operands[0].type.shape, op["shape"], op["scales"]
    if scaled_shape(x, scales) == shape:
        return [w.constant(np.array(scales, np.float32)), ""], {}
    sizes = {axis: shape[axis] for axis, scale in enumerate(scales) if scale != 1.0}
    axes = {} if op["roi"] else {"axes": list(sizes)}
    for policy in POLICIES:
        wanted = sizes if axes else dict(enumerate(shape))
        if policy_target(policy, x, wanted) == (shape, scales):
            return ["", w.integers(list(wanted.values()))], {**axes, "keep_aspect_ratio_policy": policy}
    raise ModelError(f"{op!r}: ONNX cannot say scales {scales} with shape {shape}")


def _space_to_depth(w: _Writer, op: Operator, operands: list[str], result: str) -> None:
    """Mode CRD is newer than the opset written."""
    if op["mode"] == "DCR":
        w.node("SpaceToDepth", operands, op, result, blocksize=op["block"])
        return
    b, (n, c, h, width) = op["block"], op.operands[0].type.shape
    split = w.node("Reshape", [*operands, w.integers((n, c, h // b, b, width // b, b))], op, allowzero=1)
    moved = w.node("Transpose", [split], op, perm=(0, 1, 3, 5, 2, 4))
    w.node("Reshape", [moved, w.integers(op.result.type.shape)], op, result, allowzero=1)


def _cast(w: _Writer, op: Operator, operands: list[str], result: str) -> None:
    w.node("Cast", operands, op, result, to=_onnx_type(op["dtype"]))


def _scale_and_zero(w: _Writer, quant: Quant, dtype: DType) -> tuple[list[str], dict[str, int]]:
    scale, zero = np.array(quant.scales, np.float32), np.array(quant.zero_points, dtype.numpy)
    if quant.axis is None:
        scale, zero = scale.reshape(()), zero.reshape(())
    axis = {} if quant.axis is None else {"axis": quant.axis}
    if dtype != DType.I32:
        return [w.constant(scale, "scale"), w.constant(zero, "zero_point")], axis
    if zero.any():
        raise ModelError("ONNX has no zero point other than 0 for quantized i32")
    return [w.constant(scale, "scale")], axis


def _table(w: _Writer, op: Operator, operands: list[str], result: str) -> None:
    """Gather, whose negative indices count from the end as a table's do."""
    index = w.node("Cast", operands[:1], op, to=TensorProto.INT32)
    w.node("Gather", [operands[1], index], op, result, axis=0)


def _quantize(w: _Writer, op: Operator, operands: list[str], result: str) -> None:
    type = op.result.type
    if type.dtype == DType.I32 or type.quant is None:
        raise ModelError(f"{op!r}: ONNX cannot quantize to {type.dtype.value}")
    if op.operands[0].type.dtype != DType.F32:
        operands = [w.node("Cast", operands, op, to=TensorProto.FLOAT)]
    inputs, axis = _scale_and_zero(w, type.quant, type.dtype)
    w.node("QuantizeLinear", [*operands, *inputs], op, result, **axis)


def _dequantize(w: _Writer, op: Operator, operands: list[str], result: str) -> None:
    x, dtype = op.operands[0].type, op.result.type.dtype
    if x.quant is None:
        raise ModelError(f"{op!r}: the input is not quantized")
    inputs, axis = _scale_and_zero(w, x.quant, x.dtype)
    made = w.node("DequantizeLinear", [*operands, *inputs], op, result if dtype == DType.F32 else "", **axis)
    if dtype != DType.F32:
        w.node("Cast", [made], op, result, to=_onnx_type(dtype))


_LOGIC = {
    "equal": "Equal", "greater": "Greater", "greater_equal": "GreaterOrEqual", "less": "Less",
    "less_equal": "LessOrEqual", "and": "And", "or": "Or", "xor": "Xor", "not": "Not", "where": "Where",
    "relayout": "Identity",
}  # fmt: skip

_WRITERS: dict[str, Write] = {
    **{f"nn.{name}": _elementwise for name in [*_FORMS, "clip", "silu"]},
    **{f"nn.{name}": _plain(type) for name, type in _LOGIC.items()},
    **{f"nn.reduce_{kind}": _reduction(f"Reduce{kind.title()}") for kind in ("mean", "sum", "max", "min")},
    "nn.map": _map,
    "nn.cast": _cast,
    "nn.conv": _convolution("Conv"),
    "nn.conv_transpose": _convolution("ConvTranspose"),
    "nn.matmul": _matmul,
    "nn.max_pool": _pool("MaxPool"),
    "nn.average_pool": _pool("AveragePool"),
    "nn.batch_norm": _plain("BatchNormalization", epsilon="epsilon"),
    "nn.instance_norm": _plain("InstanceNormalization", epsilon="epsilon"),
    "nn.layer_norm": _layer_norm,
    "nn.lrn": _plain("LRN", size="size", alpha="alpha", beta="beta", bias="bias"),
    "nn.softmax": _plain("Softmax", axis="axis"),
    "nn.log_softmax": _plain("LogSoftmax", axis="axis"),
    "nn.argmax": _plain("ArgMax", axis="axis", keepdims="keepdims", select_last="select_last_index"),
    "nn.reshape": _shaped("Reshape", "shape", allowzero=1),
    "nn.expand": _shaped("Expand", "shape"),
    "nn.tile": _shaped("Tile", "repeats"),
    "nn.transpose": _plain("Transpose", perm="perm"),
    "nn.concat": _plain("Concat", axis="axis"),
    "nn.slice": _slice,
    "nn.gather": _plain("Gather", axis="axis"),
    "nn.pad": _pad,
    "nn.resize": _resize,
    "nn.depth_to_space": _plain("DepthToSpace", block="blocksize", mode="mode"),
    "nn.space_to_depth": _space_to_depth,
    "q.table": _table,
    "q.quantize": _quantize,
    "q.dequantize": _dequantize,
    "q.annotate": _plain("Identity"),
}
