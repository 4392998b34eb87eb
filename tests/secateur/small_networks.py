"""Small networks as ONNX text with seeded weights: what a TFLite file has a form for, and more."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from secateur.ir.graph import Graph
from secateur.ir.onnx_reader import read_model

from ..onnx.models import model

Shapes = Mapping[str, tuple[int, ...]]
HEAD = "float[1,3,8,9] x"


def network(nodes: str, weights: Shapes, head: str = HEAD) -> onnx.ModelProto:
    """`nodes` from `head` to y, with seeded normal weights of these shapes (He et al. 2015)."""
    rng = np.random.default_rng(0)
    made = model(nodes, head=head)
    for name, shape in weights.items():
        spread = math.sqrt(2 / math.prod(shape[1:])) if len(shape) > 1 else 0.3
        array = rng.normal(0, spread, shape).astype(np.float32)
        made.graph.initializer.append(numpy_helper.from_array(array, name))
    return made


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
RESIDUAL_WEIGHTS: Shapes = {
    "w1": (4, 3, 3, 3),
    "b1": (4,),
    "w2": (4, 1, 3, 3),
    "w3": (4, 4, 1, 1),
    "b3": (4,),
}


def residual(batch: int = 1) -> Graph:
    made = network(RESIDUAL, RESIDUAL_WEIGHTS, f"float[{batch},3,8,9] x")
    for name, value in (("zero", 0.0), ("six", 6.0)):
        made.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    return read_model(made)


def after_conv(nodes: str, weights: Shapes, channels: int = 4) -> Graph:
    """`nodes` on `c`, the result of a convolution."""
    first = f"c = Conv <pads = [1, 1, 1, 1]> (x, w) {nodes}"
    return read_model(network(first, {"w": (channels, 3, 3, 3), **weights}))
