"""A 3x3 convolution as F(2x2, 3x3) of operators that TFLite has, in 8 bits with scales for each tap.

    linear_conv(x, w, b)  ->  p = pad(x)
                              v = linear_conv(p, B)        depthwise, by steps of 2, for each of 16 taps
                              m = linear_conv(v, U)        1x1, for each tap
                              s = concat(m, ...)           the taps' rows of tiles below one another
                              y = linear_conv(s, A)        depthwise, 16 x 1, as far apart as there are rows,
                                                           for each of a tile's 4 outputs
                              joined                       columns as channels, then rows as columns

B's elements are -1, 0 and 1, so 8 bits hold them exactly, and a channel's own scale D with them: v is V / D.
U is rounded with a scale for each filter of a tap. m has one scale for all taps, as what is joined must, so
each filter of a tap is divided by what brings it to that range: a whole number n of 1 to 127, which its
place in A multiplies by again, exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from secateur.ir.graph import Operator, Value
from secateur.ir.ops.linear import one_quant
from secateur.ir.ops.quantize import TFLITE, quant_attributes
from secateur.ir.registry import create
from secateur.ir.types import Quant

from ..winograd.factors import Options, choose_steps
from ..winograd.rounding import compensated, steps_of
from ..winograd.transforms import (
    axis_matrices,
    matrices,
    sample_tiles,
    transformed_samples,
    transformed_weights,
)
from ..winograd.winograd import mean_error
from .functions import constant

Floats = NDArray[Any]
TILE, SIDE, TAPS = (2, 2), 2, 16
LARGEST = 127
MIDDLE = 128
"""The zero point of what has both signs: 0 as TFLite stores it."""
WHOLE = Quant((1 / LARGEST,), (MIDDLE,))
"""Of the taps' products: each filter's reach from -1 to 1."""


class Form(NamedTuple):
    """The constants of C channels and M filters; real numbers are in steps of the operator's input."""

    steps: Floats  # D (taps, C)
    weights: NDArray[np.int8]  # U D (taps, M, C), in units
    units: Floats  # (taps, M)
    numbers: NDArray[np.int8]  # n (taps, M)
    reach: Floats  # (M,): of a filter's products, those of the tap that reaches farthest
    bias: Floats  # (M,), real


def tile_form(op: Operator, weights: Floats, bias: Floats, samples: NDArray[np.uint8]) -> Form:
    """Constants that compute a 3x3 `op` from real weights (M, C, 3, 3) and bias.

    `samples` are u8 patches of its input. What rounding adds on average over them is taken off the bias.
    """
    options = Options()
    scale, zero = one_quant(op.operands[0].type)
    tiles = sample_tiles(samples, TILE, zero)
    u, v = transformed_weights(weights, TILE), transformed_samples(tiles, TILE).astype(np.float32)
    steps = choose_steps(u, v, options)
    scaled, wanted = u * steps[:, None, :], v / steps[:, :, None]
    q = np.clip(np.rint(wanted), -LARGEST - 1, LARGEST)
    units = steps_of(scaled)
    stored = compensated(scaled, units, wanted, q, options.damping)
    numbers, most = _ranges(np.matmul(stored.astype(np.float32), q) * units[:, :, None].astype(np.float32))
    real = np.matmul(u, v.mean(2, dtype=np.float64)[:, :, None])[..., 0]
    error = mean_error(TILE, real, stored, units, q) * scale
    return Form(steps, stored, units, numbers, most, bias + error)


HEADROOMS = (1.0, 1.15, 1.3, 1.5, 2.0)
"""By so much a filter's products may reach beyond those of the samples."""


def _ranges(products: Floats) -> tuple[NDArray[np.int8], Floats]:
    """n (taps, M) and the farthest reach (M,) for samples (taps, M, tiles).

    Each filter has the headroom with which ranges of half the samples err least on the others.
    """
    half = max(1, products.shape[2] // 2)
    rest = products[:, :, half:] if products.shape[2] > 1 else products
    reach = np.abs(products[:, :, :half]).max(2)
    errors = [_error(rest, *_numbers(reach * room)) for room in HEADROOMS]
    rooms = np.array(HEADROOMS)[np.argmin(errors, axis=0)]
    return _numbers(np.abs(products).max(2) * rooms)


def _numbers(reach: Floats) -> tuple[NDArray[np.int8], Floats]:
    """For each tap and filter (taps, M) its share of the farthest in 1/127, and how far that is (M,)."""
    most = np.maximum(reach.max(0), 1e-12)
    return np.clip(np.ceil(reach / most * LARGEST), 1, LARGEST).astype(np.int8), most


def _error(products: Floats, numbers: NDArray[np.int8], most: Floats) -> Floats:
    """The squared error of each filter's outputs (M,) when the taps' products are stored in 8 bits."""
    steps = (numbers * most / LARGEST**2).astype(np.float32)[:, :, None]
    stored = np.clip(np.rint(products / steps), -LARGEST - 1, LARGEST) * steps
    lost = np.tensordot(matrices(TILE)[0].astype(np.float32), stored - products, 1)
    found: Floats = np.square(lost).sum((0, 2), dtype=np.float64)
    return found


# Operators -------------------------------------------------------------------------------------------


class Made(list[Operator]):
    """Operators in their order, each with what it is called."""

    def add(self, name: str, operands: Sequence[Value], loc: str, **attributes: Any) -> Value:
        made = create(name, operands, attributes, loc)
        self.append(made)
        return made.result

    def constant(self, array: NDArray[Any], name: str, quant: Quant | None = None) -> Value:
        made = constant(np.ascontiguousarray(array), name, quant)
        self.append(made)
        return made.result

    def conv(
        self, x: Value, weights: NDArray[np.int8], scales: Floats, bias: Floats, quant: Quant, loc: str,
        **window: Any,
    ) -> Value:  # fmt: skip
        """A convolution with a scale for each filter, and a real bias; `loc` names its constants."""
        numbers = tuple(map(float, scales.astype(np.float32)))
        w = self.constant(weights, f"{loc}.w", Quant(numbers, (0,) * len(numbers), 0))
        unit = one_quant(x.type)[0] * np.array(numbers)
        b = self.constant(np.rint(bias / unit).astype(np.int32), f"{loc}.b")
        usual = {"strides": (1, 1), "dilations": (1, 1), "pads": (0, 0, 0, 0), "groups": 1}
        attributes = {**usual, **window, "rounding": TFLITE, **quant_attributes(quant)}
        return self.add("q.linear_conv", [x, w, b], loc, **attributes)


def create_tiles(op: Operator, form: Form) -> list[Operator]:
    """Constants and operators, the last of which stands for the q.linear_conv `op`."""
    made = Made()
    products = [_product(made, op, form, tap, x) for tap, x in enumerate(_transformed(made, op, form))]
    stacked = made.add("nn.concat", products, op.loc, axis=2)
    rows = products[0].type.shape[2]
    outputs = [_output(made, op, form, stacked, rows, at) for at in range(SIDE * SIDE)]
    last = _joined(made, op, outputs)
    if last.type != op.result.type:
        raise ValueError(f"{last.type} is not the type {op.result.type} of what it replaces")
    last.name = op.result.name
    return list(made)


def _transformed(made: Made, op: Operator, form: Form) -> Iterator[Value]:
    """V / D of each tap, whose scale is the largest D: (N, C, rows of tiles, columns of tiles)."""
    x, channels = _padded(made, op), op.operands[0].type.shape[1]
    scale, b_t = one_quant(op.operands[0].type)[0], axis_matrices(SIDE)[2]
    for tap, steps in enumerate(form.steps):
        down, across = (np.trim_zeros(b_t[i], "b") for i in divmod(tap, SIDE + 2))
        kernel = np.outer(down, across) * LARGEST
        weights = np.broadcast_to(kernel, (channels, 1, *kernel.shape)).astype(np.int8)
        quant = Quant((float(np.float32(scale * steps.max())),), (MIDDLE,))
        scales = steps.max() / (LARGEST * steps)
        window = {"strides": (SIDE, SIDE), "groups": channels}
        yield made.conv(x, weights, scales, np.zeros(channels), quant, f"{op.loc}.tap{tap}", **window)


def _padded(made: Made, op: Operator) -> Value:
    """The input with the padding of the operator and what whole tiles read beyond."""
    x, (top, left) = op.operands[0], op["pads"][:2]
    whole = [-(-d // SIDE) * SIDE + 2 for d in op.result.type.shape[2:]]
    ends = [w - d - b for w, d, b in zip(whole, x.type.shape[2:], (top, left), strict=True)]
    pads = (0, 0, top, left, 0, 0, *ends)
    return made.add("nn.pad", [x], op.loc, pads=pads, value=float(one_quant(x.type)[1])) if any(pads) else x


def _product(made: Made, op: Operator, form: Form, tap: int, x: Value) -> Value:
    """The products of a tap, n of which are 127 of those that reach farthest."""
    weights = form.weights[tap][:, :, None, None]
    scale, step = one_quant(op.operands[0].type)[0], one_quant(x.type)[0]
    scales = form.units[tap] * scale / (step * form.numbers[tap] * _shares(form, scale))
    return made.conv(x, weights, scales, np.zeros(len(weights)), WHOLE, f"{op.loc}.products{tap}")


def _shares(form: Form, scale: float) -> Floats:
    """What one of n is worth, for each filter."""
    found: Floats = form.reach * scale / LARGEST
    return found


def _output(made: Made, op: Operator, form: Form, stacked: Value, rows: int, at: int) -> Value:
    """One of the outputs of all tiles: A of the taps, which stand `rows` apart."""
    filters, scale = len(form.reach), one_quant(op.operands[0].type)[0]
    taps = matrices(TILE)[0][at][:, None] * form.numbers
    weights = taps.T.reshape(filters, 1, TAPS, 1).astype(np.int8)
    quant = op.result.type.quant
    assert quant is not None, "the operator's result is quantized"
    window = {"dilations": (rows, rows), "groups": filters, "limits": op["limits"]}
    loc = f"{op.loc}.output{at}"
    return made.conv(stacked, weights, _shares(form, scale), form.bias, quant, loc, **window)


def _joined(made: Made, op: Operator, outputs: Sequence[Value]) -> Value:
    """Outputs of tiles as one image, without what lies beyond the operator's result.

    With channels last nothing moves but what is joined: (N, M, h, w) b-th columns behind one another are
    (N, M, h, 2 w) as they lie, and a-th rows beside one another (N, M, 2 h, 2 w).
    """
    n, filters, tall, wide = outputs[0].type.shape
    rows = []
    for pair in (outputs[:SIDE], outputs[SIDE:]):
        both = made.add("nn.concat", pair, op.loc, axis=1)
        apart = made.add("nn.reshape", [both], op.loc, shape=(n, SIDE, filters, tall, wide))
        turned = made.add("nn.transpose", [apart], op.loc, perm=(0, 2, 3, 4, 1))
        rows.append(made.add("nn.reshape", [turned], op.loc, shape=(n, filters, tall, wide * SIDE)))
    beside = made.add("nn.concat", rows, op.loc, axis=3)
    whole = made.add("nn.reshape", [beside], op.loc, shape=(n, filters, tall * SIDE, wide * SIDE))
    shape = op.result.type.shape
    if whole.type.shape == shape:
        return whole
    return made.add("nn.slice", [whole], op.loc, starts=(0,) * 4, sizes=shape, steps=(1,) * 4)


def fits(op: Operator) -> bool:
    """Whether a 3x3 convolution has a result of whole tiles at least."""
    return min(op.result.type.shape[2:]) >= SIDE
