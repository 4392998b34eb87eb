"""Residual networks beside the benchmark's, for tests of opened sums; and random decisions on them."""

from __future__ import annotations

from collections.abc import Callable

import onnx

from secateur.ir.graph import Graph
from secateur.ir.onnx_reader import read_model
from secateur.passes.canonicalize.canonicalize import Canonicalize
from secateur.tools.bench import models
from secateur.tools.bench.model_builder import GraphBuilder, Value


def network(name: str, seed: int = 0) -> Graph:
    """A canonical graph on images of 32 x 32."""
    model = OWN[name](seed) if name in OWN else models.build(name, seed, side=32)
    return Canonicalize().run(read_model(model))


def _cifar(depth: int) -> Callable[[int], onnx.ModelProto]:
    """He et al. 2015, section 4.2: three stages of (depth - 2) / 6 basic blocks, projections between."""

    def build(seed: int) -> onnx.ModelProto:
        g = GraphBuilder(f"resnet{depth}", (1, 3, 32, 32), seed)
        x = _normal(g, g.input, "stem", 16, 3)
        for stage, width in enumerate((16, 32, 64)):
            for block in range((depth - 2) // 6):
                stride = 2 if stage and not block else 1
                x = _basic(g, x, f"stage{stage}.{block}", width, stride)
        return _classified(g, x)

    return build


def _normal(g: GraphBuilder, x: Value, path: str, width: int, kernel: int, stride: int = 1) -> Value:
    return g.relu(_plain(g, x, path, width, kernel, stride), f"{path}.relu")


def _plain(g: GraphBuilder, x: Value, path: str, width: int, kernel: int, stride: int = 1) -> Value:
    y = g.conv(x, f"{path}.conv", width, kernel, stride, kernel // 2)
    return g.batch_norm(y, f"{path}.bn", gain=0.5)


def _basic(g: GraphBuilder, x: Value, path: str, width: int, stride: int) -> Value:
    y = _plain(g, _normal(g, x, f"{path}.a", width, 3, stride), f"{path}.b", width, 3)
    shortcut = x if x.shape == y.shape else _plain(g, x, f"{path}.shortcut", width, 1, stride)
    return g.relu(g.add(y, shortcut, path), f"{path}.relu")


def _classified(g: GraphBuilder, x: Value) -> onnx.ModelProto:
    return g.finish(g.linear(g.flatten(g.global_average_pool(x, "pool")), "fc", 10))


def _preactivation(seed: int, width: int = 16) -> onnx.ModelProto:
    """He et al. 2016, "Identity Mappings in Deep Residual Networks": sums pass no activation."""
    g = GraphBuilder("preactivation", (1, 3, 32, 32), seed)
    x = g.conv(g.input, "stem", width, 3, 1, 1)
    for block, (channels, stride) in enumerate(((width, 1), (width, 1), (2 * width, 2), (2 * width, 1))):
        path = f"block{block}"
        y = g.relu(g.batch_norm(x, f"{path}.bn1"), f"{path}.relu1")
        same = stride == 1 and channels == x.channels
        shortcut = x if same else g.conv(y, f"{path}.shortcut", channels, 1, stride)
        y = g.conv(y, f"{path}.conv1", channels, 3, stride, 1)
        y = g.relu(g.batch_norm(y, f"{path}.bn2"), f"{path}.relu2")
        x = g.add(g.conv(y, f"{path}.conv2", channels, 3, 1, 1), shortcut, path)
    return _classified(g, g.relu(g.batch_norm(x, "bn"), "relu"))


def _small(seed: int) -> onnx.ModelProto:
    """A basic block, a projection with stride, and a bottleneck of a depthwise convolution that is linear."""
    g = GraphBuilder("small", (1, 3, 12, 12), seed)
    x = _normal(g, g.input, "stem", 8, 3)
    x = _basic(g, x, "first", 8, 1)
    x = _basic(g, x, "second", 16, 2)
    y = _normal(g, x, "expand", 24, 1)
    y = g.relu(g.batch_norm(g.conv(y, "depthwise", 24, 3, 1, 1, 24), "bn"), "middle")
    y = _plain(g, y, "project", 16, 1)
    return _classified(g, g.add(y, x, "third"))


OWN: dict[str, Callable[[int], onnx.ModelProto]] = {
    "resnet56": _cifar(56),
    "resnet110": _cifar(110),
    "preactivation": _preactivation,
    "small": _small,
}
