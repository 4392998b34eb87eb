"""Padding of windows: SAME or VALID where one of them is it exactly, else an operator PAD before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from secateur.ir.graph import Operator, Value
from secateur.ir.ops.linear import one_quant
from secateur.ir.types import TensorType

from .schema import schema
from .writer import SIGN, Writer, image_shape, need, stored_array

Pairs = tuple[tuple[int, int], ...]

NPU_STRIDES = 3
"""Of Ethos-U's convolutions at most. Vela leaves longer ones to the CPU, unless a PAD is before."""


@dataclass(frozen=True)
class Window:
    """A window over the two axes of space; a missing one is a height of 1."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: Pairs  # before and after, what lies behind the last window left out

    @property
    def options(self) -> dict[str, int]:
        """Fields of the options that all windows share."""
        return {"strideH": self.strides[0], "strideW": self.strides[1]}

    @property
    def dilation_options(self) -> dict[str, int]:
        return {"dilationHFactor": self.dilations[0], "dilationWFactor": self.dilations[1]}


def window_of(op: Operator, kernel: Sequence[int]) -> Window:
    """The window of a convolution or pool; Unmapped for more than two axes of space."""
    n = len(kernel)
    need(n <= 2, f"it has {n} axes of space, TFLite's windows have 2")
    extents, out = op.operands[0].type.shape[2:], op.result.type.shape[2:]
    strides, dilations, begins = op["strides"], op["dilations"], op["pads"][:n]
    reach = [
        (o - 1) * s + (k - 1) * d + 1 for o, s, k, d in zip(out, strides, kernel, dilations, strict=True)
    ]
    pads = tuple((b, max(0, r - b - e)) for b, r, e in zip(begins, reach, extents, strict=True))
    return Window(_two(kernel, 1), _two(strides, 1), _two(dilations, 1), ((0, 0),) * (2 - n) + pads)


def _two(values: Sequence[int], fill: int) -> tuple[int, int]:
    first, second = (fill,) * (2 - len(values)) + tuple(int(v) for v in values)
    return first, second


def _same(extent: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """What SAME pads an axis by: the smaller half before."""
    out = -(-extent // stride)
    total = max(0, (out - 1) * stride + (kernel - 1) * dilation + 1 - extent)
    return total // 2, total - total // 2


def scheme(window: Window, extents: Sequence[int], out: Sequence[int]) -> str | None:
    """SAME or VALID where it pads as the window does and gives as many results, else None."""
    if not any(map(any, window.pads)):
        valid = [
            (e - (k - 1) * d - 1) // s + 1
            for e, k, s, d in zip(extents, window.kernel, window.strides, window.dilations, strict=True)
        ]
        if valid == list(out):
            return "VALID"
    same = tuple(map(_same, extents, window.kernel, window.strides, window.dilations))
    fits = same == window.pads and [-(-e // s) for e, s in zip(extents, window.strides, strict=True)] == list(
        out
    )
    return "SAME" if fits else None


def padded_input(writer: Writer, op: Operator, window: Window, fill: int | None = None) -> tuple[int, str]:
    """The tensor of a window's operand, padded where that is needed, and the scheme left to the window.

    `fill` is the stored u8 that padding consists of, the zero point where it is None.
    """
    x = op.operands[0]
    found = scheme(window, image_shape(x.type.shape)[1:3], image_shape(op.result.type.shape)[1:3])
    if found is not None:
        return writer.image(x), found
    if fill is None and max(window.strides) > NPU_STRIDES and not writer.machine.coral:
        return bordered(writer, x, window.pads), "VALID"
    return padded(writer, x, ((0, 0), *window.pads, (0, 0)), fill), "VALID"


def bordered(writer: Writer, x: Value, pads: Pairs) -> int:
    """The image with constant borders joined to it, axis by axis: what PAD gives."""
    tensor, shape = writer.image(x), image_shape(x.type.shape)
    for axis, (before, after) in ((axis, sides) for axis, sides in enumerate(pads, 1) if any(sides)):
        sides = [_border(writer, x.type, _resized(shape, axis, n)) if n else None for n in (before, after)]
        parts = [part for part in (sides[0], tensor, sides[1]) if part is not None]
        shape = _resized(shape, axis, shape[axis] + before + after)
        tensor = writer.result(f"{x.name}_padded", x.type, shape)
        writer.file.operator("CONCATENATION", 2, parts, [tensor], "ConcatenationOptions", axis=axis)
    return tensor


def _resized(shape: Sequence[int], axis: int, extent: int) -> tuple[int, ...]:
    return (*shape[:axis], extent, *shape[axis + 1 :])


def _border(writer: Writer, type: TensorType, shape: tuple[int, ...]) -> int:
    zero = one_quant(type)[1]
    quant = replace(type.quant, zero_points=(zero - SIGN,)) if type.quant else None
    return writer.file.constant("border", stored_array(np.full(shape, zero, np.uint8)), quant)


def padded(writer: Writer, x: Value, pads: Pairs, fill: int | None = None) -> int:
    """The image padded along the file's axes; more than 0 on each side."""
    shape = tuple(a + d + b for d, (a, b) in zip(image_shape(x.type.shape), pads, strict=True))
    made = writer.result(f"{x.name}_padded", x.type, shape)
    return pad_into(writer, writer.image(x), made, x.type, pads, fill)


def pad_into(
    writer: Writer, tensor: int, made: int, type: TensorType, pads: Pairs, fill: int | None = None
) -> int:
    """Writes the operator; PAD fills with the zero point, any other value is PADV2's."""
    counts = writer.file.constant("pads", np.array(pads, np.int32))
    zero = one_quant(type)[1]
    if fill is None or fill == zero:
        writer.file.operator("PAD", 2, [tensor, counts], [made], "PadOptions")
        return made
    quant = replace(type.quant, zero_points=(zero - SIGN,)) if type.quant else None
    value = writer.file.constant("padding", stored_array(np.array([fill], np.uint8)), quant)
    writer.file.operator("PADV2", 2, [tensor, counts, value], [made], "PadV2Options")
    return made


def scheme_code(scheme: str) -> int:
    """The schema's number of a scheme."""
    return int(getattr(schema().Padding, scheme))
