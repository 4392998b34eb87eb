"""Random graphs of one operator on bytes that rounds as TFLite does: shapes, windows, scales and extremes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from secateur.ir.graph import Graph
from secateur.ir.opdef import TypeRuleError
from secateur.ir.registry import create
from secateur.ir.types import DType, Quant, TensorType

from .draw import Draw, scale_of
from .random_kernels import KERNELS
from .random_moves import MOVES


def convolution(d: Draw) -> Graph:
    """Full, depthwise with a multiplier, or grouped; one or two axes of space."""
    kind, space = d.whole(0, 2), d.whole(1, 2)
    groups = {0: 1, 1: d.whole(1, 6), 2: 2}[kind]
    inputs = {0: d.whole(1, 8), 1: 1, 2: d.whole(2, 3)}[kind]
    filters = groups * d.whole(1, 4)
    kernel = tuple(d.whole(1, 4) for _ in range(space))
    x = d.bytes("x", 1, groups * inputs, *(d.whole(4, 12) for _ in kernel))
    w = d.weights(filters, (filters, inputs, *kernel), [None, 0][d.whole(0, 1)])
    return d.returned(
        "q.linear_conv",
        [x, w, d.bias(filters)],
        groups=groups,
        **d.window(kernel),
        **d.result(scale_of(x), scale_of(w)),
    )


def product(d: Draw) -> Graph:
    """A matrix of one row or more by constants of one scale or one a column."""
    met, columns = d.whole(1, 40), d.whole(1, 2000)
    x = d.bytes("x", 1, met)
    w = d.weights(columns, (met, columns), [None, 1][d.whole(0, 1)])
    return d.returned("q.linear_matmul", [x, w, d.bias(columns)], **d.result(scale_of(x), scale_of(w)))


def pair(op: str) -> Callable[[Draw], Graph]:
    """A sum or product, of equal shapes or with the second broadcast."""

    def graph(d: Draw) -> Graph:
        shape = (1, d.whole(1, 40), d.whole(1, 9), d.whole(1, 9))
        second = shape if d.rng.random() < 0.5 else (1, shape[1], 1, 1)
        a, b = d.bytes("a", *shape), d.bytes("b", *second)
        scale = max(map(scale_of, (a, b))) if op == "add" else scale_of(a) * scale_of(b) * 100
        return d.returned(f"q.linear_{op}", [a, b], **d.result(scale))

    return graph


def average(d: Draw) -> Graph:
    """A pool that keeps its quantization, or the mean of a plane that does not."""
    x = d.bytes("x", 1, d.whole(1, 400), d.whole(3, 11), d.whole(3, 11))
    if d.rng.random() < 0.5:
        whole = {"kernel": x.type.shape[2:], "strides": (1, 1), "pads": (0,) * 4, "dilations": (1, 1)}
        return d.returned(
            "q.linear_average_pool", [x], **whole, **d.result(scale_of(x)) | {"limits": (0, 255)}
        )
    assert x.type.quant is not None
    kernel = (d.whole(1, 3), d.whole(1, 3))
    result = {"scales": x.type.quant.scales, "zero_points": x.type.quant.zero_points, "rounding": "tflite"}
    window = d.window(kernel, dilated=False)
    kept = any(window["pads"])
    return d.returned("q.linear_average_pool", [x], kernel=kernel, count_include_pad=kept, **window, **result)


def largest(d: Draw) -> Graph:
    x = d.bytes("x", 1, d.whole(1, 5), d.whole(4, 11), d.whole(4, 11))
    kernel = (d.whole(1, 4), d.whole(1, 4))
    return d.returned(
        "nn.max_pool", [x], kernel=kernel, ceil_mode=d.rng.random() < 0.3, **d.window(kernel, False)
    )


def stored(d: Draw) -> Graph:
    """Floats quantized at the edge of the file."""
    x = d.graph.add_input(TensorType((1, d.whole(1, 4), d.whole(1, 9))), "x")
    quant = {"scales": (d.scale(),), "zero_points": (d.zero(),), "dtype": DType.U8}
    return d.returned("q.quantize", [x], rounding="tflite", **quant)


def joined(d: Draw) -> Graph:
    """A concatenation along any axis, of any rank."""
    quant, rank = Quant((d.scale(),), (d.zero(),)), d.whole(2, 4)
    axis = d.whole(1, rank - 1)
    shapes = [[1, *(d.whole(1, 4) for _ in range(rank - 1))] for _ in range(d.whole(2, 3))]
    parts = [
        d.bytes(
            f"x{i}",
            *(s if a == axis else e for a, (s, e) in enumerate(zip(shape, shapes[0], strict=True))),
            quant=quant,
        )
        for i, shape in enumerate(shapes)
    ]
    return d.returned("nn.concat", parts, axis=axis)


def padded(d: Draw) -> Graph:
    """Padding of every axis but the batch, by the zero point or another byte."""
    x = d.bytes("x", 1, d.whole(1, 4), d.whole(2, 6), d.whole(2, 6))
    begins, ends = ([0, *(d.whole(0, 2) for _ in range(3))] for _ in range(2))
    assert x.type.quant is not None
    value = x.type.quant.zero_points[0] if d.rng.random() < 0.5 else d.whole(0, 255)
    return d.returned("nn.pad", [x], pads=(*begins, *ends), value=float(value))


def part(d: Draw) -> Graph:
    x = d.bytes("x", 1, d.whole(2, 6), d.whole(3, 8), d.whole(3, 8))
    steps = tuple(1 if i == 0 or d.rng.random() < 0.5 else 2 for i in range(4))
    starts = (0, *(d.whole(0, 1) for _ in range(3)))
    sizes = tuple(
        1 if i == 0 else (n - a + s - 1) // s
        for i, (n, a, s) in enumerate(zip(x.type.shape, starts, steps, strict=True))
    )
    return d.returned("nn.slice", [x], starts=starts, sizes=sizes, steps=steps)


def moved(d: Draw) -> Graph:
    """A transpose, a reshape, a transpose: as much as possible without an operator of the file."""
    x = d.bytes("x", 1, d.whole(1, 4), d.whole(1, 4), d.whole(1, 4))
    perm = (0, *(int(i) + 1 for i in d.rng.permutation(3)))
    turned = d.graph.append(create("nn.transpose", [x], {"perm": perm})).result
    flat = d.graph.append(
        create(
            "nn.reshape",
            [turned],
            {"shape": (turned.type.shape[1], -(-x.type.elements // turned.type.shape[1]))},
        )
    ).result
    return d.returned("nn.transpose", [flat], perm=(1, 0))


def enlarged(d: Draw) -> Graph:
    x = d.bytes("x", 1, d.whole(1, 3), d.whole(1, 5), d.whole(1, 5))
    factors = (d.whole(1, 3), d.whole(1, 3))
    shape = (*x.type.shape[:2], *(e * f for e, f in zip(x.type.shape[2:], factors, strict=True)))
    kind = [("asymmetric", "floor"), ("half_pixel", "round_prefer_floor")][d.whole(0, 1)]
    scales = (1.0, 1.0, *map(float, factors))
    return d.returned("nn.resize", [x], shape=shape, scales=scales, coordinates=kind[0], rounding=kind[1])


def blocks(d: Draw) -> Graph:
    """Pixels into channels or back."""
    block, mode = d.whole(2, 3), ["DCR", "CRD"][d.whole(0, 1)]
    if d.rng.random() < 0.5:
        return d.returned(
            "nn.depth_to_space",
            [d.bytes("x", 1, block * block * d.whole(1, 3), 2, 3)],
            block=block,
            mode=mode,
        )
    return d.returned(
        "nn.space_to_depth", [d.bytes("x", 1, d.whole(1, 3), 2 * block, 3 * block)], block=block, mode=mode
    )


GENERATORS: dict[str, Callable[[Draw], Graph]] = {
    "convolution": convolution,
    "product": product,
    "add": pair("add"),
    "mul": pair("mul"),
    "average": average,
    "largest": largest,
    "stored": stored,
    "joined": joined,
    "padded": padded,
    "part": part,
    "moved": moved,
    "enlarged": enlarged,
    "blocks": blocks,
    **KERNELS,
    **MOVES,
}


def random_graph(kind: str, seed: int) -> Graph:
    """A graph of one operator; drawn anew where its pieces do not fit."""
    rng = np.random.default_rng([seed, sorted(GENERATORS).index(kind)])
    while True:
        try:
            return GENERATORS[kind](Draw(Graph(), rng))
        except TypeRuleError:
            continue
