"""A small builder of ONNX graphs with seeded weights, in the style of PyTorch's exporter.

Weights follow He et al. 2015 ("Delving Deep into Rectifiers"). The builder carries the mean and
variance of every channel along the graph, so that each batch normalization gets statistics near
those its input really has: activations then neither die nor explode, at any depth.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Floats = NDArray[np.float32]
OPSET = 17
IR_VERSION = 8  # the first IR version of opset 17, so that older readers open the files


@dataclass(frozen=True)
class Value:
    """A value of the graph under construction.

    `shape` is (N, C, H, W), or (N, C) once flattened. `mean` and `var` estimate each
    channel's mean and variance; both have shape (C,).
    """

    name: str
    shape: tuple[int, ...]
    mean: Floats
    var: Floats

    @property
    def channels(self) -> int:
        return self.shape[1]


class GraphBuilder:
    """Adds operators one by one; `finish` gives the checked model.

    Every method takes `path`, the module's dotted name as PyTorch would say it
    ("layer1.0.conv1"); nodes and weights are named after it.
    """

    def __init__(self, name: str, shape: tuple[int, int, int, int], seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._model = onnx.ModelProto(ir_version=IR_VERSION, producer_name="secateur")
        self._model.opset_import.append(helper.make_opsetid("", OPSET))
        self._model.graph.name = name
        self._taken: Counter[str] = Counter()
        channels = shape[1]
        self.input = Value("input", shape, np.zeros(channels, np.float32), np.ones(channels, np.float32))

    # ---- operators with weights

    def conv(
        self,
        x: Value,
        path: str,
        channels: int,
        kernel: int,
        stride: int = 1,
        pad: int = 0,
        groups: int = 1,
        bias: bool = False,
    ) -> Value:
        """Square convolution, weights N(0, 2 / fan_in)."""
        per_group = x.channels // groups
        weight = self._he((channels, per_group, kernel, kernel))
        names = [x.name, self._weight(f"{path}.weight", weight)]
        offset = self._small(channels) if bias else np.zeros(channels, np.float32)
        if bias:
            names.append(self._weight(f"{path}.bias", offset))
        out = self._node(
            "Conv", path, names,
            dilations=[1, 1], group=groups, kernel_shape=[kernel] * 2, pads=[pad] * 4, strides=[stride] * 2,
        )  # fmt: skip
        mean, var = _through_weights(weight, x, groups)
        side = [_window(s, kernel, stride, pad, ceil=False) for s in x.shape[2:]]
        return Value(out, (x.shape[0], channels, *side), mean + offset, var)

    def batch_norm(self, x: Value, path: str, eps: float = 1e-5, gain: float = 1.0) -> Value:
        """Batch normalization whose running statistics are near those of `x`; scale is about `gain`."""
        c = x.channels
        scale = (gain * self._random.uniform(0.7, 1.3, c)).astype(np.float32)
        shift = self._random.normal(0.1, 0.3, c).astype(np.float32)
        deviation = _deviation(x.var)
        running_mean = (x.mean + 0.1 * deviation * self._random.standard_normal(c)).astype(np.float32)
        running_var = (x.var * np.exp(self._random.normal(0, 0.1, c))).astype(np.float32)
        rows = {"weight": scale, "bias": shift, "running_mean": running_mean, "running_var": running_var}
        names = [x.name, *(self._weight(f"{path}.{k}", v) for k, v in rows.items())]
        out = self._node("BatchNormalization", path, names, epsilon=eps, momentum=0.9, training_mode=0)
        factor = scale / np.sqrt(running_var + eps)
        return Value(out, x.shape, (x.mean - running_mean) * factor + shift, x.var * factor**2)

    def linear(self, x: Value, path: str, features: int) -> Value:
        """Dense layer with bias, as Gemm with the weight stored (out, in)."""
        weight = self._he((features, x.channels))
        bias = self._small(features)
        names = [x.name, self._weight(f"{path}.weight", weight), self._weight(f"{path}.bias", bias)]
        out = self._node("Gemm", path, names, alpha=1.0, beta=1.0, transB=1)
        return Value(out, (x.shape[0], features), weight @ x.mean + bias, np.square(weight) @ x.var)

    # ---- operators without weights

    def relu(self, x: Value, path: str) -> Value:
        mean, var = _rectified(x.mean, x.var)
        return Value(self._node("Relu", path, [x.name]), x.shape, mean, var)

    def relu6(self, x: Value, path: str) -> Value:
        """Clip to [0, 6], its bounds given by Constant nodes."""
        bounds = [self._constant(f"{path}.min", 0.0), self._constant(f"{path}.max", 6.0)]
        mean, var = _rectified(x.mean, x.var)
        return Value(self._node("Clip", path, [x.name, *bounds]), x.shape, mean, var)

    def max_pool(
        self, x: Value, path: str, kernel: int, stride: int, pad: int = 0, ceil: bool = False
    ) -> Value:
        out = self._node(
            "MaxPool", path, [x.name],
            ceil_mode=int(ceil), dilations=[1, 1],
            kernel_shape=[kernel] * 2, pads=[pad] * 4, strides=[stride] * 2,
        )  # fmt: skip
        side = [_window(s, kernel, stride, pad, ceil) for s in x.shape[2:]]
        # Neighbours are correlated: the largest of a window lies about 0.7 deviations above the mean.
        return Value(out, (*x.shape[:2], *side), x.mean + np.float32(0.7) * _deviation(x.var), x.var)

    def average_pool(self, x: Value, path: str, kernel: int, stride: int) -> Value:
        out = self._node(
            "AveragePool", path, [x.name],
            ceil_mode=0, count_include_pad=1, kernel_shape=[kernel] * 2, pads=[0] * 4, strides=[stride] * 2,
        )  # fmt: skip
        side = [_window(s, kernel, stride, 0, ceil=False) for s in x.shape[2:]]
        return Value(out, (*x.shape[:2], *side), x.mean, x.var / np.float32(kernel))

    def global_average_pool(self, x: Value, path: str) -> Value:
        out = self._node("GlobalAveragePool", path, [x.name])
        return Value(out, (*x.shape[:2], 1, 1), x.mean, x.var / np.float32(x.shape[2]))

    def flatten(self, x: Value) -> Value:
        repeats = math.prod(x.shape[2:])
        out = self._node("Flatten", "", [x.name], axis=1)
        shape = (x.shape[0], x.channels * repeats)
        return Value(out, shape, np.repeat(x.mean, repeats), np.repeat(x.var, repeats))

    def add(self, x: Value, y: Value, path: str) -> Value:
        out = self._node("Add", path, [x.name, y.name])
        return Value(out, x.shape, x.mean + y.mean, x.var + y.var)

    def concat(self, values: Sequence[Value], path: str) -> Value:
        """Concatenation along the channels."""
        out = self._node("Concat", path, [v.name for v in values], axis=1)
        shape = (values[0].shape[0], sum(v.channels for v in values), *values[0].shape[2:])
        return Value(
            out, shape, np.concatenate([v.mean for v in values]), np.concatenate([v.var for v in values])
        )

    def finish(self, result: Value) -> onnx.ModelProto:
        """The model whose output `output` is `result`, shapes inferred and checked."""
        graph = self._model.graph
        for node in graph.node:
            node.output[:] = ["output" if name == result.name else name for name in node.output]
        graph.input.append(helper.make_tensor_value_info("input", TensorProto.FLOAT, self.input.shape))
        graph.output.append(helper.make_tensor_value_info("output", TensorProto.FLOAT, result.shape))
        graph.value_info.extend(_checked(graph).value_info)
        return self._model

    # ---- names, nodes and weights

    def _node(self, op: str, path: str, inputs: list[str], **attributes: Any) -> str:
        """Appends a node; returns its output's name, which no other node shares."""
        name = _scoped(path, op)
        taken = self._taken[name]
        self._taken[name] += 1
        name = f"{name}_{taken}" if taken else name
        output = f"{name}_output_0"
        self._model.graph.node.append(helper.make_node(op, inputs, [output], name, **attributes))
        return output

    def _constant(self, path: str, value: float) -> str:
        tensor = numpy_helper.from_array(np.array(value, np.float32))
        return self._node("Constant", path.rsplit(".", 1)[0], [], value=tensor)

    def _weight(self, name: str, array: Floats) -> str:
        data = np.ascontiguousarray(array, "<f4").tobytes()
        self._model.graph.initializer.add(
            name=name, dims=array.shape, data_type=TensorProto.FLOAT, raw_data=data
        )
        return name

    def _he(self, shape: tuple[int, ...]) -> Floats:
        deviation = np.float32(math.sqrt(2 / math.prod(shape[1:])))
        return self._random.standard_normal(shape, np.float32) * deviation

    def _small(self, size: int) -> Floats:
        return self._random.standard_normal(size, np.float32) * np.float32(0.05)


def _scoped(path: str, op: str) -> str:
    """A node's name: "layer1.0.conv1", "Conv" -> "/layer1/layer1.0/conv1/Conv"."""
    scopes: list[str] = []
    for part in filter(None, path.split(".")):
        scopes.append(f"{scopes[-1]}.{part}" if part.isdigit() else part)
    return "/" + "/".join([*scopes, op])


def _window(size: int, kernel: int, stride: int, pad: int, ceil: bool) -> int:
    """Positions of a window along one axis."""
    steps = (size + 2 * pad - kernel) / stride
    return (math.ceil(steps) if ceil else math.floor(steps)) + 1


def _through_weights(weight: Floats, x: Value, groups: int) -> tuple[Floats, Floats]:
    """Mean and variance of a weighted sum of independent inputs, one pair for each output channel."""
    first, second = weight.sum((2, 3)), np.square(weight).sum((2, 3))
    return _grouped_product(first, x.mean, groups), _grouped_product(second, x.var, groups)


def _grouped_product(matrix: Floats, vector: Floats, groups: int) -> Floats:
    """Matrix times vector where each group of rows sees its own part of the vector."""
    blocks = matrix.reshape(groups, -1, matrix.shape[1])
    return (blocks @ vector.reshape(groups, -1, 1)).reshape(-1)


def _deviation(var: Floats) -> Floats:
    """Standard deviation, never quite zero."""
    return np.sqrt(np.maximum(var, np.float32(1e-6)), dtype=np.float32)


def _rectified(mean: Floats, var: Floats) -> tuple[Floats, Floats]:
    """Mean and variance of max(X, 0) for a normal X."""
    deviation = _deviation(var)
    ratio = mean / deviation
    density = np.exp(np.float32(-0.5) * ratio**2) / np.float32(math.sqrt(2 * math.pi))
    below = np.array([0.5 * (1 + math.erf(r / math.sqrt(2))) for r in ratio], np.float32)
    first = mean * below + deviation * density
    second = (mean**2 + var) * below + mean * deviation * density
    return first, np.maximum(second - first**2, np.float32(1e-6))


def _checked(graph: onnx.GraphProto) -> onnx.GraphProto:
    """The graph with inferred shapes and its weights as inputs, so that no copy of them is made.

    onnx.checker.ValidationError or onnx.shape_inference.InferenceError where it is not valid.
    """
    inputs = [helper.make_tensor_value_info(w.name, w.data_type, w.dims) for w in graph.initializer]
    light = helper.make_graph(graph.node, graph.name, [*graph.input, *inputs], graph.output)
    model = helper.make_model(light, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
