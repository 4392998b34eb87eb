"""Write a trained ResNet-20 as ONNX, operator by operator, with batch normalization kept apart.

PyTorch's exporter folds batch normalization into the convolutions (or needs further packages); a compiler's
example should leave that work to the compiler. Takes NumPy parameters by their PyTorch names.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Parameters = Mapping[str, npt.NDArray[np.float32]]
Attribute = int | float | list[int]

OPSET: Final = 17
IR_VERSION: Final = 8
"""The IR version of ONNX 1.12, the first release with opset 17: readable by every runtime that knows it."""
INPUT: Final = "image"
OUTPUT: Final = "logits"
INPUT_SHAPE: Final = (1, 3, 32, 32)
STAGES: Final = ("layer1", "layer2", "layer3")
BN_PARAMETERS: Final = ("weight", "bias", "running_mean", "running_var")


@dataclass(eq=False)
class GraphWriter:
    """Collects nodes and the parameters that they use; for one model."""

    parameters: Parameters
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)

    def node(
        self, operator: str, scope: str, inputs: list[str], output: str = "", **attributes: Attribute
    ) -> str:
        """Append `operator` under `/scope/` and return the name of its result."""
        name = f"/{scope}/{operator}" if scope else f"/{operator}"
        result = output or f"{name}_output_0"
        node = helper.make_node(operator, inputs, [result], name=name)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in sorted(attributes.items()))
        self.nodes.append(node)
        return result

    def parameter(self, name: str) -> str:
        """Add a parameter as an initializer under its PyTorch name."""
        if name not in self.parameters:
            raise ValueError(f"the parameters hold no {name}")
        value = np.ascontiguousarray(self.parameters[name], dtype=np.float32)
        self.initializers.append(numpy_helper.from_array(value, name))
        return name

    def conv_bn(self, x: str, conv: str, bn: str, stride: int) -> str:
        """Convolution with padding that keeps the size at stride 1, then batch normalization."""
        weight = self.parameter(f"{conv}.weight")
        kernel = self.parameters[weight].shape[2]
        y = self.node(
            "Conv",
            node_scope(conv),
            [x, weight],
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[kernel // 2] * 4,
            dilations=[1, 1],
            group=1,
        )
        statistics = [self.parameter(f"{bn}.{name}") for name in BN_PARAMETERS]
        return self.node("BatchNormalization", node_scope(bn), [y, *statistics], epsilon=1e-5)

    def block(self, x: str, path: str, stride: int) -> str:
        """A basic block; it has a projection where the parameters hold one."""
        y = self.conv_bn(x, f"{path}.conv1", f"{path}.bn1", stride)
        y = self.node("Relu", f"{node_scope(path)}/relu1", [y])
        y = self.conv_bn(y, f"{path}.conv2", f"{path}.bn2", 1)
        if f"{path}.downsample.conv.weight" in self.parameters:
            x = self.conv_bn(x, f"{path}.downsample.conv", f"{path}.downsample.bn", stride)
        y = self.node("Add", node_scope(path), [y, x])
        return self.node("Relu", f"{node_scope(path)}/relu2", [y])

    def network(self, x: str) -> None:
        """The whole of ResNet-20, from the stem to the logits."""
        x = self.node("Relu", "relu", [self.conv_bn(x, "conv1", "bn1", 1)])
        for stage in STAGES:
            for index, path in enumerate(block_paths(self.parameters, stage)):
                x = self.block(x, path, 2 if index == 0 and stage != STAGES[0] else 1)
        x = self.node("GlobalAveragePool", "avgpool", [x])
        x = self.node("Flatten", "", [x], axis=1)
        self.node("Gemm", "fc", [x, self.parameter("fc.weight"), self.parameter("fc.bias")], OUTPUT, transB=1)


def resnet20_model(parameters: Parameters) -> onnx.ModelProto:
    """A checked ONNX model, `image` float32 [1, 3, 32, 32] -> `logits` float32 [1, classes].

    Raises ValueError, naming it, when a parameter is missing.
    """
    writer = GraphWriter(parameters)
    writer.network(INPUT)
    classes = parameters["fc.weight"].shape[0]
    image = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, INPUT_SHAPE)
    logits = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, (1, classes))
    graph = helper.make_graph(writer.nodes, "resnet20", [image], [logits], writer.initializers)
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="secateur examples/digits",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def save_model(model: onnx.ModelProto, path: Path) -> None:
    """Write beside, then rename: `path` is the old model or the new one, never half of it."""
    beside = path.with_suffix(".partial")
    beside.write_bytes(model.SerializeToString(deterministic=True))
    beside.replace(path)


def block_paths(parameters: Parameters, stage: str) -> list[str]:
    """The parameter prefixes of a stage's blocks, in order: layer1.block0, layer1.block1, ..."""
    names = {name.split(".")[1] for name in parameters if name.startswith(f"{stage}.")}
    if not names:
        raise ValueError(f"the parameters hold no block of {stage}")
    return [f"{stage}.{name}" for name in sorted(names)]


def node_scope(path: str) -> str:
    """A PyTorch path as a node scope: layer1.block0.conv1 -> layer1/block0/conv1."""
    return path.replace(".", "/")
