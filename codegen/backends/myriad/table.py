"""Operators of ONNX in OpenVINO's Myriad plugin, by the documentation of its last release, 2022.3.

A layer is of the page "Supported Devices", column "VPU plugins", and its limits of the page "VPU devices",
"Known Layers Limitations". Those marked `PLUGIN` stand in no table, but the plugin's source reads them
(`intel_myriad/graph_transformer/src/frontend/frontend.cpp`). Of transposed convolutions the pages say
both: the table has Deconvolution, as the source does, and the limitations leave ConvTranspose out. They are
written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from onnx import shape_inference

Ranks = Mapping[str, int]
Limit = Callable[[Any, Ranks], str | None]
"""Takes a node and the ranks of values by name: why the layer does not hold this one, or None."""

PLUGIN = "the plugin's source"
FOLDED = "no layer: gone when the file is read"


def _flat(node: Any, ranks: Ranks) -> str | None:
    """Windows have two axes of space at most."""
    kernel = next((len(a.ints) for a in node.attribute if a.name == "kernel_shape"), 0)
    axes = kernel or ranks.get(node.input[0], 2) - 2
    return f"its window goes over {axes} axes, and the table has none over more than 2" if axes > 2 else None


def _image(node: Any, ranks: Ranks) -> str | None:
    """Padding is of images, and its newest way has no form in the opset written."""
    rank = ranks.get(node.input[0], 4)
    if any(a.s == b"wrap" for a in node.attribute):
        return "it pads with the other side's elements, which opset 14 has not: write it as Concat"
    return f"it pads {rank} axes, and the layer works with 4" if rank != 4 else None


@dataclass(frozen=True)
class Row:
    """An operator of ONNX, and the layer that it becomes; without one, `why`, and what to do.

    `source` is where the layer stands, if not in the table.
    """

    operator: str
    layer: str = ""
    why: str = ""
    limit: Limit | None = None
    source: str = ""


CUT = "cut the model before it, or compute it on the host"
NOT = f"the table says that it is not supported: {CUT}"
NONE = f"the table has no such layer: {CUT}"
NORMALIZED = (
    "its epsilon is fixed at 1e-9 there (MVN): train with batch normalization, which folds into convolutions"
)
WRITTEN = "(written as the operators that it is made of)"
EXPORT = "export it as the operators that it is made of"

ROWS = (
    Row("Abs", "Abs", source=PLUGIN),
    Row("Add", "Eltwise-Add"),
    Row("And", "Eltwise-LogicalAnd"),
    Row("ArgMax", "ArgMax"),
    Row("AveragePool", "Pooling(AVG,MAX)", limit=_flat),
    Row("BatchNormalization", "BatchNormalization"),
    Row("Cast", "Convert", source=PLUGIN),
    Row("Ceil", "Ceil"),
    Row("Clip", "Activation-Clamp"),
    Row("Concat", "Concat"),
    Row("Constant", "Const"),
    Row("ConstantOfShape", source=FOLDED),
    Row("Conv", "Convolution-Ordinary, -Grouped, -Dilated", limit=_flat),
    Row("ConvTranspose", "Deconvolution", limit=_flat),
    Row("Cos", why=NOT),
    Row("CumSum", why=NONE),
    Row("DepthToSpace", why=f"the table says that it is not supported: {EXPORT}, Reshape and Transpose"),
    Row("DequantizeLinear", why="the stick computes in float16: give a network in float"),
    Row("Div", "Eltwise-Div"),
    Row("Elu", "Activation-ELU"),
    Row("Equal", "Eltwise-Equal"),
    Row("Erf", "Erf"),
    Row("Exp", "Exp"),
    Row("Expand", "Broadcast"),
    Row("EyeLike", source=FOLDED),
    Row("Flatten", "Flatten"),
    Row("Floor", "Floor"),
    Row("GRU", why=f"the table says that GRUSequence is not supported: {CUT}"),
    Row("Gather", "Gather"),
    Row("Gelu", f"Erf, Eltwise-Mul {WRITTEN}"),
    Row("Gemm", "FullyConnected (Inner Product), Gemm"),
    Row("GlobalAveragePool", "Pooling(AVG,MAX)", limit=_flat),
    Row("GlobalMaxPool", "Pooling(AVG,MAX)", limit=_flat),
    Row("Greater", "Eltwise-Greater"),
    Row("GreaterOrEqual", "Eltwise-GreaterEqual"),
    Row("GridSample", why=NONE),
    Row("HardSigmoid", f"Eltwise-Mul, Eltwise-Add, Activation-Clamp {WRITTEN}"),
    Row("HardSwish", "HSwish", source=PLUGIN),
    Row("Identity", source=FOLDED),
    Row("InstanceNormalization", why=NORMALIZED),
    Row("IsInf", why=NONE),
    Row("IsNaN", why=NONE),
    Row("LRN", "LRN (Norm)"),
    Row("LSTM", "LSTMSequence"),
    Row("LayerNormalization", why=NORMALIZED),
    Row("LeakyRelu", "Activation-Leaky ReLU"),
    Row("Less", "Eltwise-Less"),
    Row("LessOrEqual", "Eltwise-LessEqual"),
    Row("Log", "Log"),
    Row("LogSoftmax", why="the table says that it is not supported: cut it, or export Softmax and Log"),
    Row("MatMul", "FullyConnected (Inner Product), Gemm"),
    Row("Max", "Eltwise-Max"),
    Row("MaxPool", "Pooling(AVG,MAX)", limit=_flat),
    Row("Min", "Eltwise-Min"),
    Row("Mish", f"Softplus, Activation-TanH, Eltwise-Mul {WRITTEN}"),
    Row("Mod", why=f"the table has FloorMod alone, whose sign is another: {CUT}"),
    Row("Mul", "Eltwise-Mul"),
    Row("Neg", f"Eltwise-Mul {WRITTEN}"),
    Row("Not", "Activation-Not"),
    Row("Or", "Eltwise-LogicalOr"),
    Row("PRelu", "Activation-PReLU"),
    Row("Pad", "Pad", limit=_image),
    Row("Pow", "Eltwise-Pow"),
    Row("QuantizeLinear", why="the stick computes in float16: give a network in float"),
    Row("RNN", why=f"the table says that RNNSequence is not supported: {CUT}"),
    Row("ReduceL1", why=NOT),
    Row("ReduceL2", why=NOT),
    Row("ReduceLogSum", why=NOT),
    Row("ReduceLogSumExp", why=NOT),
    Row("ReduceMax", "ReduceMax"),
    Row("ReduceMean", "ReduceMean"),
    Row("ReduceMin", "ReduceMin"),
    Row("ReduceProd", why=NOT),
    Row("ReduceSum", "ReduceSum"),
    Row("ReduceSumSquare", why=NOT),
    Row("Relu", "Activation-ReLU"),
    Row("Reshape", "Reshape"),
    Row("Resize", "Interp, Resample"),
    Row("Round", "Round", source=PLUGIN),
    Row("ScatterElements", why=NONE),
    Row("Shrink", why=NONE),
    Row("Sigmoid", "Activation-Sigmoid/Logistic"),
    Row("Sign", "Sign"),
    Row("Sin", why=NOT),
    Row("Slice", "StridedSlice"),
    Row("Softmax", "SoftMax"),
    Row("Softplus", "Softplus"),
    Row("Softsign", why=NOT),
    Row("SpaceToDepth", why=f"the table says that it is not supported: {EXPORT}, Reshape and Transpose"),
    Row("Split", "Split"),
    Row("Sqrt", "Power"),
    Row("Squeeze", "Squeeze"),
    Row("Sub", "Eltwise-Sub"),
    Row("Tanh", "Activation-TanH"),
    Row("ThresholdedRelu", why=NONE),
    Row("Tile", "Tile"),
    Row("TopK", why=f"a layer of two results, which is not written: {CUT}"),
    Row("Transpose", "Permute"),
    Row("Unsqueeze", "Unsqueeze"),
    Row("Where", "Select"),
    Row("Xor", "Eltwise-LogicalXor"),
)
OPERATORS = {row.operator: row for row in ROWS}


def refusals(model: Any) -> Iterator[str]:
    """A line for each node that the plugin has no layer for: its name, why, and what to do."""
    ranks = _ranks(model)
    for node in model.graph.node:
        row = OPERATORS.get(node.op_type, Row(node.op_type, why=NONE))
        why = row.why or (row.limit(node, ranks) if row.limit is not None else None)
        if why:
            yield f"{node.name or node.output[0]} ({node.op_type}): {why}"


def _ranks(model: Any) -> dict[str, int]:
    graph = shape_inference.infer_shapes(model).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    return {v.name: len(v.type.tensor_type.shape.dim) for v in values} | {
        i.name: len(i.dims) for i in graph.initializer
    }
