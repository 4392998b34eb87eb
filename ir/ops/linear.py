"""Operators on 8-bit tensors, exact to the bit: products summed in int32, requantized through float32.

Activations are u8 with any zero point, weights i8 with zero points 0. With the
steps of the result as unit, a sum becomes t = f32(sum) * multiplier, rounded
once to float32; a second term is rounded by itself, then added. What is stored
is `limits`-clamped round_half_even(t) + zero point. An activation such as ReLU
is a matter of `limits`. A result of `dtype` f32 is t in real units, as it is.

With `rounding` tflite a sum is instead multiplied by an integer and shifted, as
TFLite's reference kernels do it (ir/reference/tflite.py): without residual, and
with an 8-bit result.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..axes import OUT, Axes, Axis, Ports, Relation, Summed, Tie
from ..graph import Operator
from ..literals import written
from ..opdef import Attribute, OpDef, Signature, Types
from ..types import DType, Quant, TensorType, extents
from .axes import ELEMENTWISE, WINDOWS, equal_axes, extras
from .compute import (
    POOL,
    POOL_AXES,
    REACH,
    WINDOW,
    conv_groups,
    conv_macs,
    conv_relations,
    conv_shape,
    pool_shape,
    reaching_extras,
)
from .quantize import ROUNDING, need_rounding
from .rows import register
from .rules import reaching, require

Floats = NDArray[np.float32]

RESULT = (
    Attribute("scales", "floats", (), "the result's scale; none where it is real"),
    Attribute("zero_points", "ints", (), "the result's zero point"),
    Attribute("dtype", "dtype", DType.U8, "u8, or f32 for a result in real units"),
    Attribute("limits", "ints", (0, 255), "smallest and largest stored value"),
    ROUNDING,
)


def one_quant(type: TensorType) -> tuple[float, int]:
    """Scale and zero point of a tensor quantized as a whole; ValueError for any other."""
    if type.quant is None or type.quant.axis is not None:
        raise ValueError(f"{type} is not quantized with one scale")
    return float(np.float32(type.quant.scales[0])), type.quant.zero_points[0]


def result_scale(result: TensorType) -> float:
    """The unit in which the operator counts: the result's scale, 1 where the result is real."""
    return 1.0 if result.quant is None else one_quant(result)[0]


def multiplier(result: TensorType, *factors: float) -> np.float32:
    """The product of scales in units of the result's scale, rounded once to float32."""
    return np.float32(math.prod(float(np.float32(f)) for f in factors) / result_scale(result))


def channel_multipliers(op: Operator) -> Floats:
    """Of a convolution or matrix product: for each output channel, what one unit of the sum is worth."""
    weights = op.operands[1].type
    assert weights.quant is not None, "the type rule wants quantized weights"
    channels = op.result.type.shape[-1 if "matmul" in op.name else 1]
    scale = one_quant(op.operands[0].type)[0]
    factors = [multiplier(op.result.type, scale, s) for s in weights.quant.scales]
    return np.ascontiguousarray(np.broadcast_to(np.array(factors, np.float32), (channels,)))


def residual_multiplier(op: Operator, index: int) -> np.float32:
    """What one step of operand `index` is worth."""
    return multiplier(op.result.type, one_quant(op.operands[index].type)[0])


def check_activation(type: TensorType, what: str) -> None:
    require(type.dtype == DType.U8, f"the {what} is {type.dtype.value}, not u8")
    require(type.quant is not None and type.quant.axis is None, f"the {what} is not quantized with one scale")


def _weights(type: TensorType, axis: int) -> None:
    require(type.dtype == DType.I8 and type.quant is not None, "the weights are not quantized i8")
    assert type.quant is not None
    require(type.quant.axis in (None, axis), f"the weights' scales lie along axis {type.quant.axis}")
    require(not any(type.quant.zero_points), "the weights have zero points other than 0")


def _result(sig: Signature, shape: tuple[int, ...]) -> TensorType:
    tflite = need_rounding(sig)
    if sig["dtype"] == DType.F32:
        require(not tflite, "rounding as TFLite gives no real result")
        require(not sig["scales"] and not sig["zero_points"], "a real result has no scale")
        return TensorType(shape)
    require(sig["dtype"] == DType.U8, f"a result is u8 or f32, not {sig['dtype'].value}")
    limits = sig["limits"]
    require(
        len(limits) == 2 and 0 <= limits[0] <= limits[1] <= 255,
        f"limits {written(limits)} are no range of u8",
    )
    require(len(sig["scales"]) == 1, "the result needs one scale")
    return TensorType(shape, DType.U8, quant=Quant(sig["scales"], sig["zero_points"]))


def _residual(
    sig: Signature, index: int, shape: tuple[int, ...], last: tuple[int, ...] | None = None
) -> None:
    """The residual, of the result's shape; `last` is what it has in effect, where that is not its own."""
    require(len(sig.types) <= index + 1, f"at most one residual, got {len(sig.types) - index}")
    require(len(sig.types) <= index or not need_rounding(sig), "rounding as TFLite adds no residual")
    for extra in sig.types[index:]:
        check_activation(extra, "residual")
        require((last or extra.shape) == shape, f"the residual is {extra}, the result {extents(shape)}")


def _conv(sig: Signature) -> Sequence[TensorType]:
    x, w, bias = sig.types[:3]
    shape = conv_shape(sig)
    check_activation(x, "input")
    _weights(w, 0)
    require((bias.shape, bias.dtype) == ((w.shape[0],), DType.I32), f"bias is {bias}, not {w.shape[0]} x i32")
    require(len(sig.types) > 3 or not sig["reach"], "there is no residual that reaches some channels")
    _residual(sig, 3, shape, reaching(sig, shape))
    return [_result(sig, shape)]


def _conv_axes(ports: Ports) -> Iterator[Relation]:
    yield from conv_relations(ports)
    yield Tie(Axis(2, 0), Axis(OUT, 1))
    yield from reaching_extras(ports, 3)


register(
    OpDef(
        "q.linear_conv",
        "Convolution: sum of (x - zero point) w + bias, padding is the zero point; a residual is added to t.",
        ("x", "weights", "bias", "residual*"),
        _conv,
        (*WINDOW, Attribute("groups", "int", 1), *RESULT, REACH),
        conv_macs,
        elementwise_from=3,
        axes=Axes(_conv_axes, WINDOWS, conv_groups),
    )
)


def _matmul(sig: Signature) -> Sequence[TensorType]:
    x, w, bias = sig.types
    require(
        x.rank == 2 and w.rank == 2 and x.shape[1] == w.shape[0],
        f"matrices {x} and {w} do not multiply",
    )
    check_activation(x, "left matrix")
    _weights(w, 1)
    require((bias.shape, bias.dtype) == ((w.shape[1],), DType.I32), f"bias is {bias}, not {w.shape[1]} x i32")
    return [_result(sig, (x.shape[0], w.shape[1]))]


def _matmul_macs(types: Types, result: TensorType) -> int:
    return result.elements * types[0].shape[1]


def _matmul_axes(_ports: Ports) -> Iterator[Relation]:
    yield from (Tie(Axis(0, 0), Axis(OUT, 0)), Tie(Axis(0, 1), Axis(1, 0)), Summed(Axis(0, 1)))
    yield from (Tie(Axis(port, axis), Axis(OUT, 1)) for port, axis in ((1, 1), (2, 0)))


register(
    OpDef(
        "q.linear_matmul",
        "Matrix product (N, K) by (K, M): sum of (x - zero point) w + bias.",
        ("x", "weights", "bias"),
        _matmul,
        RESULT,
        _matmul_macs,
        axes=Axes(_matmul_axes, ""),
    )
)


def _binary(sig: Signature) -> Sequence[TensorType]:
    for type, what in zip(sig.types, ("first operand", "second operand"), strict=True):
        check_activation(type, what)
    a, b = (t.shape for t in sig.types)
    require(
        len(a) == len(b) and all(d in (1, e) for d, e in zip(b, a, strict=True)),
        f"{b} does not broadcast to {a}",
    )
    return [_result(sig, a)]


def _sum(sig: Signature) -> Sequence[TensorType]:
    """A kernel of TFLite multiplies the sum by less than 1."""
    found = _binary(sig)
    coarsest = 2.0 * max(one_quant(t)[0] for t in sig.types)
    fine = not need_rounding(sig) or coarsest < 2.0**20 * one_quant(found[0])[0]
    require(fine, "rounding as TFLite wants the result's scale above 2^-19 of an operand's")
    return found


register(
    OpDef(
        "q.linear_add",
        "t = f32(a - za) * (sa / s) + f32(b - zb) * (sb / s); b broadcasts to a.",
        ("a", "b"),
        _sum,
        RESULT,
        elementwise_from=0,
        axes=ELEMENTWISE,
    )
)
register(
    OpDef(
        "q.linear_mul",
        "t = f32((a - za) (b - zb)) * (sa sb / s); b broadcasts to a.",
        ("a", "b"),
        _binary,
        RESULT,
        elementwise_from=0,
        axes=ELEMENTWISE,
    )
)


def _prelu(sig: Signature) -> Sequence[TensorType]:
    x, slopes = sig.types
    check_activation(x, "input")
    require(not need_rounding(sig), "slopes have no rounding as TFLite")
    require(x.rank >= 2, f"the input is {x}, without channels")
    require(
        (slopes.shape, slopes.dtype) == ((x.shape[1],), DType.F32), f"slopes are {slopes}, not one a channel"
    )
    return [_result(sig, x.shape)]


def prelu_multipliers(op: Operator, slopes: Floats) -> tuple[np.float32, Floats]:
    """What one step of the input is worth from zero on, and, for each channel, below."""
    scale = one_quant(op.operands[0].type)[0]
    below = [multiplier(op.result.type, scale, float(slope)) for slope in slopes]
    return multiplier(op.result.type, scale), np.array(below, np.float32)


def _prelu_axes(ports: Ports) -> Iterator[Relation]:
    yield from equal_axes(0, range(ports.result.rank))
    yield Tie(Axis(1, 0), Axis(OUT, 1))


register(
    OpDef(
        "q.linear_prelu",
        "t = f32(x - zx) * (sx / s), or below zero * (sx slope / s) with the slope of the channel.",
        ("x", "slopes"),
        _prelu,
        RESULT,
        axes=Axes(_prelu_axes, ""),
    )
)


def _average_pool(sig: Signature) -> Sequence[TensorType]:
    check_activation(sig.types[0], "input")
    result = _result(sig, pool_shape(sig))
    if need_rounding(sig) and result.quant != sig.types[0].quant:
        whole = tuple(sig["kernel"]) == sig.types[0].shape[2:] and not any(sig["pads"])
        require(whole, "rounding as TFLite changes the quantization of the mean of a whole plane only")
        require(sig["limits"] == (0, 255), "rounding as TFLite limits no mean of a whole plane")
    return [result]


register(
    OpDef(
        "q.linear_average_pool",
        "t = f32(sum of (x - zero point)) * (sx / (count s)); padding counts where count_include_pad.",
        ("x",),
        _average_pool,
        (*POOL, Attribute("count_include_pad", "bool", False), *RESULT),
        axes=POOL_AXES,
    )
)


FLOATS, WORDS = "floats", "words"


def _winograd(sig: Signature) -> Sequence[TensorType]:
    x, u, factors, scales, bias = sig.types[:5]
    tile, pads = sig["tile"], sig["pads"]
    require(
        len(tile) == 2 and all(m in (2, 4) for m in tile), f"tile {written(tile)}: outputs an axis are 2 or 4"
    )
    require(len(pads) == 4 and min(pads) >= 0, f"pads {written(pads)} are not four counts")
    require(x.rank == 4, f"the input is {x}, not an image")
    check_activation(x, "input")
    require(not need_rounding(sig), "a Winograd tile has no rounding as TFLite")
    positions, channels = (tile[0] + 2) * (tile[1] + 2), x.shape[1]
    spatial = u.rank == 4
    filters = u.shape[0 if spatial else 1] if u.rank > 2 else 0
    fitting = (filters, channels, 3, 3) if spatial else (positions, filters, channels)
    require(
        u.shape == fitting and u.dtype == DType.I8,
        f"weights {u} are neither {positions} x filters x {channels} nor filters x {channels} x 3 x 3 of i8",
    )
    wanted = (
        (factors, TensorType((positions, channels), DType.I16), "factors"),
        (scales, TensorType((filters,) if spatial else (positions, filters)), "scales"),
        (bias, TensorType((filters,)), "bias"),
    )
    for type, needed, what in wanted:
        require((type.shape, type.dtype) == (needed.shape, needed.dtype), f"{what} are {type}, not {needed}")
    height, width = x.shape[2] + pads[0] + pads[2] - 2, x.shape[3] + pads[1] + pads[3] - 2
    require(min(height, width) > 0, f"a 3x3 kernel does not fit {x} with pads {written(pads)}")
    shape = (x.shape[0], filters, height, width)
    _residual(sig, 5, shape)
    result = _result(sig, shape)
    require(sig["results"] in (FLOATS, WORDS), f"results are {FLOATS} or {WORDS}, not '{sig['results']}'")
    if sig["results"] == WORDS:
        require(not spatial, "results in words want weights of their domain")
        require(result.quant is not None, "results in words are no reals")
        bits = sig["factor_bits"]
        require(bits in range(13, 16), f"words have factors of 13 to 15 bits, not {bits}")
    return [result]


def _winograd_macs(types: Types, result: TensorType) -> int:
    """Those of the convolution that it is, as of a float one that some primitive computes by Winograd."""
    return result.elements * types[0].shape[1] * 9


def _winograd_axes(ports: Ports) -> Iterator[Relation]:
    yield from (Tie(Axis(0, 0), Axis(OUT, 0)), Summed(Axis(0, 1)))
    spatial = ports.type(1).rank == 4
    channels, filters, scales = (1, 0, 0) if spatial else (2, 1, 1)
    yield from (Tie(Axis(0, 1), Axis(port, axis)) for port, axis in ((1, channels), (2, 1)))
    yield from (Tie(Axis(port, axis), Axis(OUT, 1)) for port, axis in ((1, filters), (3, scales), (4, 0)))
    yield from extras(ports, 5, (0, 1))


register(
    OpDef(
        "q.winograd_conv",
        "3x3 convolution of stride 1 as F(tile, 3x3), quantized there (see ir/reference/winograd.py).",
        ("x", "weights", "factors", "scales", "bias", "residual*"),
        _winograd,
        (
            Attribute("tile", "ints", doc="outputs down and across, each 2 or 4"),
            Attribute("pads", "ints", doc="top, left, bottom, right"),
            Attribute("results", "str", FLOATS, "what A^T F A is computed in: floats, or words of 16 bits"),
            Attribute("factor_bits", "int", 13, "of words' factors, 13 to 15: more are for larger results"),
            *RESULT,
        ),
        _winograd_macs,
        elementwise_from=5,
        axes=Axes(_winograd_axes, WINDOWS),
    )
)
