"""The two networks as ONNX with fresh weights: float32 [1, 1, 28, 28] `input` -> float32 [1, 10] `output`.

They are what `secateur.train` learns from: whatever a network is, its ONNX file defines it.
"""

from collections.abc import Callable
from typing import Final

import onnx

from secateur.tools.bench.model_builder import GraphBuilder, Value

SIDE: Final = 28
CLASSES: Final = 10

STAGES: Final = ((16, 1), (32, 2), (64, 2))
"""ResNet-20: channels and first stride of its three stages of three blocks."""

BOTTLENECKS: Final = ((1, 16, 1, 1), (4, 24, 2, 2), (4, 40, 3, 2), (4, 64, 3, 1))
"""MobileNet-v2: expansion, channels, blocks and first stride of each stage."""
HEAD: Final = 160


def resnet20(seed: int = 0) -> onnx.ModelProto:
    """ResNet-20 of He et al., "Deep Residual Learning", 2015, section 4.2, with projections."""
    g = GraphBuilder("fashion-resnet20", (1, 1, SIDE, SIDE), seed)
    x = g.relu(_conv_norm(g, g.input, "conv1", "bn1", 16, 3), "relu")
    for number, (channels, stride) in enumerate(STAGES, 1):
        for index in range(3):
            x = _basic_block(g, x, f"layer{number}.block{index}", channels, 1 if index else stride)
    return _classified(g, x)


def _basic_block(g: GraphBuilder, x: Value, path: str, channels: int, stride: int) -> Value:
    y = g.relu(_conv_norm(g, x, f"{path}.conv1", f"{path}.bn1", channels, 3, stride), f"{path}.relu1")
    y = _conv_norm(g, y, f"{path}.conv2", f"{path}.bn2", channels, 3)
    if x.shape != y.shape:
        x = _conv_norm(g, x, f"{path}.downsample.conv", f"{path}.downsample.bn", channels, 1, stride)
    return g.relu(g.add(y, x, path), f"{path}.relu2")


def mobilenet(seed: int = 0) -> onnx.ModelProto:
    """A small MobileNet-v2 (Sandler et al. 2018): inverted residuals, linear bottlenecks, ReLU6."""
    g = GraphBuilder("fashion-mobilenet", (1, 1, SIDE, SIDE), seed)
    x = g.relu6(_conv_norm(g, g.input, "stem.conv", "stem.bn", 16, 3), "stem.relu")
    for number, (expansion, channels, blocks, stride) in enumerate(BOTTLENECKS, 1):
        for index in range(blocks):
            x = _bottleneck(g, x, f"stage{number}.block{index}", expansion, channels, 1 if index else stride)
    return _classified(g, g.relu6(_conv_norm(g, x, "head.conv", "head.bn", HEAD, 1), "head.relu"))


def _bottleneck(g: GraphBuilder, x: Value, path: str, expansion: int, channels: int, stride: int) -> Value:
    y = x
    if expansion != 1:
        y = _conv_norm(g, y, f"{path}.expand.conv", f"{path}.expand.bn", expansion * x.channels, 1)
        y = g.relu6(y, f"{path}.expand.relu")
    wide = y.channels
    y = _conv_norm(g, y, f"{path}.depthwise.conv", f"{path}.depthwise.bn", wide, 3, stride, groups=wide)
    y = g.relu6(y, f"{path}.depthwise.relu")
    y = _conv_norm(g, y, f"{path}.project.conv", f"{path}.project.bn", channels, 1)
    return g.add(x, y, path) if x.shape == y.shape else y


def _conv_norm(
    g: GraphBuilder,
    x: Value,
    conv: str,
    norm: str,
    channels: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
) -> Value:
    return g.batch_norm(g.conv(x, conv, channels, kernel, stride, kernel // 2, groups), norm)


def _classified(g: GraphBuilder, x: Value) -> onnx.ModelProto:
    return g.finish(g.linear(g.flatten(g.global_average_pool(x, "avgpool")), "fc", CLASSES))


NETWORKS: Final[dict[str, Callable[[int], onnx.ModelProto]]] = {"resnet20": resnet20, "mobilenet": mobilenet}
