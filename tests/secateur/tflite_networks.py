"""Whole networks in small: a U-Net, and one as MobileNetV3 is built; with seeded weights."""

from __future__ import annotations

from secateur.ir.graph import Graph
from secateur.ir.onnx_reader import read_model

from .small_networks import Shapes, network

UNET = """
    a0 = Conv <pads = [1, 1, 1, 1]> (x, w1, b1) a = Relu (a0)
    p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (a)
    c0 = Conv <pads = [1, 1, 1, 1]> (p, w2, b2) c = Relu (c0)
    q = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (c)
    d0 = Conv <pads = [1, 1, 1, 1]> (q, w3, b3) d = Relu (d0)
    t0 = ConvTranspose <strides = [2, 2]> (d, w4, b4) t = Relu (t0)
    j = Concat <axis = 1> (t, c)
    e0 = Conv <pads = [1, 1, 1, 1]> (j, w5, b5) e = Relu (e0)
    twice = Constant <value_floats = [1.0, 1.0, 2.0, 2.0]> ()
    u = Resize <mode = "linear"> (e, , twice)
    k = Concat <axis = 1> (u, a)
    f0 = Conv <pads = [1, 1, 1, 1]> (k, w6, b6) f = Relu (f0)
    g = Conv (f, w7, b7)
    y = Softmax <axis = 1> (g)
"""
UNET_WEIGHTS: Shapes = {
    "w1": (8, 3, 3, 3), "b1": (8,), "w2": (16, 8, 3, 3), "b2": (16,), "w3": (24, 16, 3, 3), "b3": (24,),
    "w4": (24, 16, 2, 2), "b4": (16,), "w5": (16, 32, 3, 3), "b5": (16,), "w6": (8, 24, 3, 3), "b6": (8,),
    "w7": (3, 8, 1, 1), "b7": (3,),
}  # fmt: skip

MOBILE = """
    s0 = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (x, w1, b1) s = HardSwish (s0)
    a0 = Conv (s, w2, b2) a = HardSwish (a0)
    d0 = Conv <group = 24, pads = [2, 2, 2, 2]> (a, w3, b3) d = HardSwish (d0)
    m = GlobalAveragePool (d)
    r0 = Conv (m, w4, b4) r = Relu (r0)
    e0 = Conv (r, w5, b5) e = HardSigmoid <alpha = 0.16666667, beta = 0.5> (e0)
    q = Mul (d, e)
    l = Conv (q, w6, b6)
    z = Add (l, s)
    h0 = Conv (z, w7, b7) h = HardSwish (h0)
    g = GlobalAveragePool (h)
    f = Flatten (g)
    n0 = Gemm (f, w8, b8) n = HardSwish (n0)
    y = Gemm (n, w9, b9)
"""
MOBILE_WEIGHTS: Shapes = {
    "w1": (8, 3, 3, 3), "b1": (8,), "w2": (24, 8, 1, 1), "b2": (24,), "w3": (24, 1, 5, 5), "b3": (24,),
    "w4": (6, 24, 1, 1), "b4": (6,), "w5": (24, 6, 1, 1), "b5": (24,), "w6": (8, 24, 1, 1), "b6": (8,),
    "w7": (32, 8, 1, 1), "b7": (32,), "w8": (32, 16), "b8": (16,), "w9": (16, 10), "b9": (10,),
}  # fmt: skip


def unet() -> Graph:
    """Convolutions down, a transposed one and a bilinear resize up, joined with what came before; softmax."""
    return read_model(network(UNET, UNET_WEIGHTS, "float[1,3,16,24] x"))


def mobile() -> Graph:
    """A block with depthwise 5x5 windows, squeeze and excite, HardSwish and a residual, and a head."""
    return read_model(network(MOBILE, MOBILE_WEIGHTS, "float[1,3,16,24] x"))
