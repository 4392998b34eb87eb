"""Small sound models that mutations start from; together they use most of the operator set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from random import Random

import numpy as np
import onnx.parser
from onnx import ModelProto, numpy_helper

from . import large

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Seed:
    """A model in ONNX's text form; its weights are seeded noise of the given shapes."""

    name: str
    text: str
    weights: Mapping[str, Shape] = field(default_factory=dict)

    def model(self) -> ModelProto:
        """The model with its weights as initializers."""
        proto = onnx.parser.parse_model(self.text)
        generator = np.random.default_rng(7)
        for name, shape in self.weights.items():
            array = generator.standard_normal(shape).astype(np.float32) * 0.3
            positive = name.startswith(("variance", "scale"))
            array = np.abs(array).astype(np.float32) + np.float32(0.1) if positive else array
            proto.graph.initializer.append(numpy_helper.from_array(array, name))
        return proto


def _text(signature: str, body: str, opset: int = 17) -> str:
    opsets = f'"" : {opset}, "com.microsoft" : 1'
    return f"<ir_version: 8, opset_import: [{opsets}]> {signature} {{ {body} }}"


_NORM = {"scale": (4,), "shift": (4,), "mean": (4,), "variance": (4,)}

SEEDS = (
    Seed(
        "residual",
        _text(
            "residual (float[1,3,8,8] x) => (float[1,5] y)",
            """
            a = Conv <kernel_shape=[3,3], pads=[1,1,1,1]> (x, w1)
            b = BatchNormalization <epsilon=1e-5> (a, scale, shift, mean, variance)
            c = Relu (b)
            d = Conv <pads=[1,1,1,1], group=2> (c, w2, bias)
            e = Add (d, c)
            f = MaxPool <kernel_shape=[2,2], strides=[2,2]> (e)
            g = GlobalAveragePool (f)
            h = Flatten (g)
            y = Gemm <transB=1> (h, w3, bias3)
            """,
        ),
        {"w1": (4, 3, 3, 3), **_NORM, "w2": (4, 2, 3, 3), "bias": (4,), "w3": (5, 4), "bias3": (5,)},
    ),
    Seed(
        "mobile",
        _text(
            "mobile (float[1,4,9,9] x) => (float[1,4,5,5] y)",
            """
            low = Constant <value = float {0.0}> ()
            high = Constant <value = float {6.0}> ()
            sides = Constant <value = int64[8] {0,0,1,1,0,0,1,1}> ()
            padded = Pad <mode="constant"> (x, sides)
            a = Conv <group=4, strides=[2,2]> (padded, w1)
            b = Clip (a, low, high)
            c = Conv (b, w2)
            d = HardSwish (c)
            e = AveragePool <kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1> (d)
            f = Sigmoid (e)
            y = Mul (d, f)
            """,
        ),
        {"w1": (4, 1, 3, 3), "w2": (4, 4, 1, 1)},
    ),
    Seed(
        "shapes",
        _text(
            "shapes (float[2,6,4] x) => (float[2,2,12] y, float[2,1,6] z)",
            """
            s = Shape (x)
            zero = Constant <value = int64[1] {0}> ()
            n = Gather (s, zero)
            rest = Constant <value = int64[2] {2,-1}> ()
            target = Concat <axis=0> (n, rest)
            a = Reshape (x, target)
            y = Identity (a)
            t = Transpose <perm=[0,2,1]> (x)
            begin = Constant <value = int64[1] {1}> ()
            end = Constant <value = int64[1] {3}> ()
            one = Constant <value = int64[1] {1}> ()
            cut = Slice (t, begin, end, one)
            first, second = Split <axis=1> (cut)
            u = Unsqueeze (first, zero)
            q = Squeeze (u, zero)
            z = Sub (q, second)
            """,
        ),
    ),
    Seed(
        "head",
        _text(
            "head (float[2,8] x) => (float[2,6] y, int64[2,1] best)",
            """
            a = LayerNormalization <axis=-1> (x, gain, offset)
            b = MatMul (a, w)
            half = Constant <value = float {0.5}> ()
            root = Constant <value = float {1.4142135}> ()
            one = Constant <value = float {1.0}> ()
            r = Div (b, root)
            e = Erf (r)
            s = Add (e, one)
            m = Mul (b, s)
            g = Mul (m, half)
            k = ReduceMean <axes=[1], keepdims=1> (g)
            c = Sub (g, k)
            y = Softmax <axis=1> (c)
            best = ArgMax <axis=1> (y)
            """,
        ),
        {"gain": (8,), "offset": (8,), "w": (8, 6)},
    ),
    Seed(
        "upsample",
        _text(
            "upsample (float[1,4,4,4] x) => (float[1,1,16,16] y)",
            """
            a = ConvTranspose <strides=[2,2], kernel_shape=[2,2]> (x, w1)
            b = InstanceNormalization (a, scale, shift)
            c = LeakyRelu <alpha=0.1> (b)
            d = PRelu (c, slope)
            e = DepthToSpace <blocksize=2, mode="CRD"> (d)
            f = Tanh (e)
            y = Softplus (f)
            """,
        ),
        {"w1": (4, 4, 2, 2), "scale": (4,), "shift": (4,), "slope": (4, 1, 1)},
    ),
    Seed(
        "resized",
        _text(
            "resized (float[1,2,3,3] x) => (float[1,4,6,6] y)",
            """
            factors = Constant <value = float[4] {1.0,1.0,2.0,2.0}> ()
            a = Resize <mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric">
                (x, , factors)
            b = Resize <mode="linear", coordinate_transformation_mode="half_pixel"> (x, , factors)
            c = Concat <axis=1> (a, b)
            d = Elu (c)
            y = Conv <auto_pad="SAME_UPPER"> (d, w)
            """,
        ),
        {"w": (4, 4, 2, 2)},
    ),
    Seed(
        "old",
        _text(
            "old (float[1,4,8,8] x) => (float[1,4] y)",
            """
            a = LRN <size=3> (x)
            b = Clip <min=-1.0, max=1.0> (a)
            c = Dropout <ratio=0.5> (b)
            d = GlobalMaxPool (c)
            e = Reshape (d, target)
            f = Abs (e)
            g = Sqrt (f)
            y = LogSoftmax <axis=1> (g)
            """,
            9,
        ).replace("{ ", "<int64[2] target = {1, 4}> { ", 1),
    ),
    Seed(
        "quantized",
        _text(
            "quantized (float[1,2,6,6] x) => (float[1,3,6,6] y)",
            """
            sx = Constant <value = float {0.05}> ()
            sw = Constant <value = float[3] {0.01,0.02,0.03}> ()
            zx = Constant <value = uint8 {128}> ()
            zw = Constant <value = int8[3] {0,0,0}> ()
            qx = QuantizeLinear (x, sx, zx)
            dx = DequantizeLinear (qx, sx, zx)
            qw = QuantizeLinear <axis=0> (w, sw, zw)
            dw = DequantizeLinear <axis=0> (qw, sw, zw)
            a = Conv <pads=[1,1,1,1]> (dx, dw)
            y = Relu (a)
            """,
        ),
        {"w": (3, 2, 3, 3)},
    ),
    Seed(
        "joined",
        _text(
            "joined (float[1,5,12] x) => (float[1,5,4] y)",
            """
            a = com.microsoft.MultiHeadAttention <num_heads=3> (x, x, x, bias)
            b = com.microsoft.SkipLayerNormalization <epsilon=1e-5> (x, a, scale, shift)
            c = com.microsoft.Attention <num_heads=2, qkv_hidden_sizes=[4,4,4]> (b, w, v)
            d = com.microsoft.FusedMatMul <transA=1, alpha=0.5> (b, c)
            y = com.microsoft.FusedMatMul (x, d)
            """,
        ),
        {"bias": (36,), "scale": (12,), "shift": (12,), "w": (12, 12), "v": (12,)},
    ),
    Seed(
        "deformed",
        _text(
            "deformed (float[1,2,6,5] x, float[1,2,3] t) => (float[1,3,4,4] y)",
            """
            o = Conv <pads=[1,1,1,1]> (x, wo)
            m = Sigmoid (o)
            parts = Constant <value = int64[2] {8,4}> ()
            s, n = Split <axis=1> (m, parts)
            d = DeformConv <pads=[1,0,0,1]> (x, w, s, bias, n)
            size = Constant <value = int64[4] {1,3,4,4}> ()
            g = AffineGrid (t, size)
            y = GridSample <mode="linear"> (d, g)
            """,
            20,
        ),
        {"wo": (12, 2, 3, 3), "w": (3, 2, 2, 2), "bias": (3,)},
    ),
    Seed(
        "symbolic",
        _text("symbolic (float[batch,3] x) => (float[batch,2] y)", "y = Gemm (x, w, b)"),
        {"w": (3, 2), "b": (2,)},
    ),
)

LARGE: tuple[Callable[[Random], ModelProto], ...] = (
    lambda random: large.scaled_concat(random.randrange(65, 800)),
    lambda random: large.scaled_sum(random.randrange(65, 800)),
    lambda random: large.image_concat(random.randrange(65, 800)),
    lambda random: large.chain(random.randrange(300, 1500), random.choice((0, 1, 2, 3, 17))),
    lambda random: large.dense_block(random.randrange(8, 40)),
    *[lambda random: large.fan_out(random.randrange(1 << 30), random.randrange(80, 500))] * 3,
)
"""Models of hundreds of operators, of a kind each; those at random count three times."""


@cache
def seed_bytes() -> tuple[bytes, ...]:
    """Every seed as a file's bytes."""
    return tuple(seed.model().SerializeToString() for seed in SEEDS)
