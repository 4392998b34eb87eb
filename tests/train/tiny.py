"""A network and images that are trained within a second."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from secateur.ir.graph import Graph
from secateur.ir.onnx_reader import read_model
from secateur.passes.canonicalize.canonicalize import Canonicalize
from secateur.passes.framework.manager import PassManager
from secateur.tools.bench.model_builder import GraphBuilder

CLASSES = 3
SIDE = 8
Array = NDArray[Any]


def model(seed: int = 0) -> onnx.ModelProto:
    """A stem and one residual block: 1x8x8 -> 3 logits, batch normalization not folded."""
    g = GraphBuilder("tiny", (1, 1, SIDE, SIDE), seed)
    x = g.relu(g.batch_norm(g.conv(g.input, "stem.conv", 8, 3, pad=1), "stem.bn"), "stem.relu")
    y = g.relu(g.batch_norm(g.conv(x, "conv1", 8, 3, pad=1), "bn1"), "relu1")
    y = g.batch_norm(g.conv(y, "conv2", 8, 3, pad=1), "bn2")
    x = g.relu(g.add(y, x, "add"), "relu2")
    x = g.flatten(g.global_average_pool(g.max_pool(x, "pool", 2, 2), "gap"))
    return g.finish(g.linear(x, "fc", CLASSES))


def graph(seed: int = 0) -> Graph:
    """The model, canonicalized."""
    return PassManager((Canonicalize(),)).run(read_model(model(seed))).graph


def images(count: int, seed: int = 0) -> tuple[Array, Array]:
    """Stripes down, stripes across, or a chessboard, with noise: N x 1 x 8 x 8 and the labels."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, count)
    down, across = np.indices((SIDE, SIDE)) // 2 % 2
    patterns = np.stack([down, across, down ^ across]).astype(np.float32)
    noise = random.standard_normal((count, 1, SIDE, SIDE))
    return (patterns[labels][:, None] - 0.5 + 0.5 * noise).astype(np.float32), labels.astype(np.int64)
