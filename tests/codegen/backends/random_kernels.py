"""Random graphs of one operator that only TFLite has on bytes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from secateur.ir.graph import Graph, Value
from secateur.ir.types import Quant

from .draw import Draw, scale_of


def softmax(d: Draw) -> Graph:
    """Along any axis; scales from where nothing differs to where one takes all."""
    shape = (1, *(d.whole(1, 12) for _ in range(d.whole(1, 3))))
    x = d.bytes("x", *shape, quant=Quant((d.scale(-4, 1.5),), (d.zero(),)))
    return d.returned("q.tflite_softmax", [x], axis=d.whole(1, len(shape) - 1))


def _shapes(d: Draw) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two shapes that broadcast, either of them to the other."""
    whole = (1, d.whole(1, 20), d.whole(1, 7), d.whole(1, 7))
    part = [whole, (1, whole[1], 1, 1), (1, 1, *whole[2:]), (1, 1, 1, 1)][d.whole(0, 3)]
    return (whole, part) if d.rng.random() < 0.5 else (part, whole)


def difference(d: Draw) -> Graph:
    first, second = _shapes(d)
    a, b = d.bytes("a", *first), d.bytes("b", *second)
    result = d.result(max(map(scale_of, (a, b))))
    del result["rounding"]
    return d.returned("q.tflite_sub", [a, b], **result)


def extreme(d: Draw) -> Graph:
    quant = Quant((d.scale(),), (d.zero(),))
    a, b = (d.bytes(name, *s, quant=quant) for name, s in zip("ab", _shapes(d), strict=True))
    return d.returned(f"q.tflite_{['maximum', 'minimum'][d.whole(0, 1)]}", [a, b])


def products(d: Draw) -> Graph:
    """Of two computed matrices, or several of them."""
    lead = (1, *(d.whole(1, 3) for _ in range(d.whole(0, 2))))
    rows, met, columns = (d.whole(1, 9) for _ in range(3))
    a, b = d.bytes("a", *lead, rows, met), d.bytes("b", *lead, met, columns)
    made = d.result(scale_of(a), scale_of(b)) | {"limits": (0, 255)}
    del made["rounding"]
    return d.returned("q.tflite_matmul", [a, b], **made)


def _quant_of(x: Value) -> Quant:
    assert x.type.quant is not None
    return x.type.quant


def slopes(d: Draw) -> Graph:
    channels = d.whole(1, 9)
    x = d.bytes("x", 1, channels, *(d.whole(1, 6) for _ in range(d.whole(0, 2))))
    alpha = d.constant(
        "alpha", d.rng.integers(-127, 128, channels).astype(np.int8), Quant((d.scale(),), (0,))
    )
    result = d.result(scale_of(x))
    return d.returned(
        "q.tflite_prelu", [x, alpha], scales=result["scales"], zero_points=result["zero_points"]
    )


def spread(d: Draw) -> Graph:
    """A transposed convolution over one or two axes, with pads and more behind."""
    space, inputs, filters = d.whole(1, 2), d.whole(1, 6), d.whole(1, 5)
    kernel = tuple(d.whole(1, 4) for _ in range(space))
    strides = tuple(d.whole(1, 3) for _ in kernel)
    pads = tuple(d.whole(0, k // 2) for k in (*kernel, *kernel))
    more = tuple(d.whole(0, s - 1) for s in strides)
    x = d.bytes("x", 1, inputs, *(d.whole(2, 6) for _ in kernel))
    w = d.weights(filters, (inputs, filters, *kernel), [None, 1][d.whole(0, 1)])
    result = d.result(scale_of(x), scale_of(w))
    del result["rounding"]
    window = {"strides": strides, "pads": pads, "dilations": (1,) * space, "output_padding": more}
    return d.returned("q.tflite_conv_transpose", [x, w, d.bias(filters)], **window, **result)


def interpolated(d: Draw) -> Graph:
    x = d.bytes("x", 1, d.whole(1, 3), d.whole(1, 9), d.whole(1, 9))
    kind = [{}, {"align_corners": True}, {"half_pixel": True}][d.whole(0, 2)]
    return d.returned("q.tflite_resize", [x], shape=(d.whole(1, 20), d.whole(1, 20)), **kind)


KERNELS: dict[str, Callable[[Draw], Graph]] = {
    "softmax": softmax,
    "difference": difference,
    "extreme": extreme,
    "products": products,
    "slopes": slopes,
    "spread": spread,
    "interpolated": interpolated,
}
