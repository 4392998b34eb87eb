"""Small networks as ONNX text with seeded weights: what a TFLite file has a form for, and more."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from secateur.ir.graph import Graph
from secateur.ir.onnx_reader import read_model

from ..onnx.models import model


def network(
    nodes: str, head: str = "float[1,3,8,9] x", seed: int = 0, **weights: tuple[int, ...]
) -> onnx.ModelProto:
    """`nodes` from `head` to y, with normal weights of these shapes (He et al. 2015)."""
    rng = np.random.default_rng(seed)
    made = model(nodes, head=head)
    for name, shape in weights.items():
        spread = np.sqrt(2 / max(1, np.prod(shape[1:]))) if len(shape) > 1 else 0.3
        array = rng.normal(0, spread, shape).astype(np.float32)
        made.graph.initializer.append(numpy_helper.from_array(array, name))
    return made


def graph_of(nodes: str, head: str = "float[1,3,8,9] x", seed: int = 0, **weights: tuple[int, ...]) -> Graph:
    """The same as a graph."""
    return read_model(network(nodes, head, seed, **weights))


RESIDUAL = """
    a = Conv <pads = [1, 0, 2, 1], strides = [2, 1]> (x, w1, b1)
    b = Relu (a)
    c = Conv <group = 4, pads = [1, 1, 1, 1]> (b, w2)
    d = Clip (c, zero, six)
    e = Conv (d, w3, b3)
    f = Add (e, a)
    y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (f)
"""
"""Asymmetric padding, a depthwise convolution, ReLU6, a residual of what a ReLU reads too, a pool."""
RESIDUAL_WEIGHTS = {"w1": (4, 3, 3, 3), "b1": (4,), "w2": (4, 1, 3, 3), "w3": (4, 4, 1, 1), "b3": (4,)}


def residual(batch: int = 1) -> Graph:
    made = network(RESIDUAL, f"float[{batch},3,8,9] x", **RESIDUAL_WEIGHTS)
    for name, value in (("zero", 0.0), ("six", 6.0)):
        made.graph.initializer.append(numpy_helper.from_array(np.float32(value), name))
    return read_model(made)


def after_conv(nodes: str, channels: int = 4, **weights: tuple[int, ...]) -> Graph:
    """`nodes` on `c`, the result of a convolution."""
    return graph_of(f"c = Conv <pads = [1, 1, 1, 1]> (x, w) {nodes}", w=(channels, 3, 3, 3), **weights)
