"""Operators that only TFLite has on bytes; `ir/reference/tflite_kernels.py` says what its kernels compute.

Activations are u8 with one scale, the kernels' i8 and 128 more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..axes import OUT, Axes, Axis, Fixed, Ports, Relation, Summed, Tie
from ..opdef import Attribute, OpDef, Signature, Types
from ..types import DType, Quant, TensorType, extents
from .axes import ELEMENTWISE, WINDOWS, equal_axes
from .compute import WINDOW, transposed_extents
from .linear import check_activation
from .quantize import PREFIX
from .rows import register
from .rules import Shape, broadcast, normalize_axis, require

UNIT = Quant((1 / 256,), (0,))
"""Of what lies between 0 and 1: the only one that TFLite's logistic function and softmax have."""
SCALE = (
    Attribute("scales", "floats", doc="the result's scale"),
    Attribute("zero_points", "ints", doc="the result's zero point"),
)
RESULT = (*SCALE, Attribute("limits", "ints", (0, 255), "smallest and largest stored value"))


def _result(sig: Signature, shape: Shape) -> list[TensorType]:
    require(len(sig["scales"]) == 1, "the result needs one scale")
    limits = sig.attributes.get("limits", (0, 255))
    require(len(limits) == 2 and 0 <= limits[0] <= limits[1] <= 255, "its limits are no range of u8")
    return [TensorType(shape, DType.U8, quant=Quant(sig["scales"], sig["zero_points"]))]


# Softmax --------------------------------------------------------------------------------------------


def _softmax(sig: Signature) -> Sequence[TensorType]:
    (x,) = sig.types
    check_activation(x, "input")
    normalize_axis(sig["axis"], x.rank)
    return [TensorType(x.shape, DType.U8, quant=UNIT)]


def _softmax_axes(ports: Ports) -> Iterator[Relation]:
    along = ports["axis"] % ports.result.rank
    for port in (0, OUT):
        yield Fixed(Axis(port, along), f"takes a softmax along axis {along}")
    yield from equal_axes(0, [a for a in range(ports.result.rank) if a != along])


register(
    OpDef(
        f"{PREFIX}softmax",
        "Softmax along the axis in fixed point; its result has steps of 1/256.",
        ("x",),
        _softmax,
        (Attribute("axis", "int", -1),),
        axes=Axes(_softmax_axes, ""),
    )
)


# Two operands --------------------------------------------------------------------------------------


def _pair_shape(sig: Signature) -> Shape:
    for type, what in zip(sig.types, ("first operand", "second operand"), strict=True):
        check_activation(type, what)
    a, b = (t.shape for t in sig.types)
    require(len(a) == len(b), f"{extents(a)} and {extents(b)} have different ranks")
    return broadcast(a, b)


def _difference(sig: Signature) -> Sequence[TensorType]:
    return _result(sig, _pair_shape(sig))


def _extreme(sig: Signature) -> Sequence[TensorType]:
    shape, (a, b) = _pair_shape(sig), sig.types
    require(a.quant == b.quant, "its operands have different quantizations")
    return [TensorType(shape, DType.U8, quant=a.quant)]


register(
    OpDef(
        f"{PREFIX}sub", "a - b, rounded as a sum; they broadcast.", ("a", "b"), _difference, RESULT,
        axes=ELEMENTWISE,
    )
)  # fmt: skip
for _name, _doc in {"maximum": "The larger byte; they broadcast.", "minimum": "The smaller byte."}.items():
    register(OpDef(f"{PREFIX}{_name}", _doc, ("a", "b"), _extreme, axes=ELEMENTWISE))


def _matmul(sig: Signature) -> Sequence[TensorType]:
    a, b = sig.types
    check_activation(a, "left matrix")
    check_activation(b, "right matrix")
    fits = a.rank == b.rank >= 2 and a.shape[-1] == b.shape[-2]
    require(fits, f"matrices {a} and {b} do not multiply")
    return _result(sig, (*broadcast(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]))


def _matmul_macs(types: Types, result: TensorType) -> int:
    return result.elements * types[0].shape[-1]


def _matmul_axes(ports: Ports) -> Iterator[Relation]:
    last = ports.result.rank - 1
    yield from (Tie(Axis(0, last), Axis(1, last - 1)), Summed(Axis(0, last)))
    yield from (Tie(Axis(0, last - 1), Axis(OUT, last - 1)), Tie(Axis(1, last), Axis(OUT, last)))


register(
    OpDef(
        f"{PREFIX}matmul",
        "Products of the last two axes of two computed tensors; leading axes broadcast.",
        ("a", "b"),
        _matmul,
        RESULT,
        _matmul_macs,
        axes=Axes(_matmul_axes, "multiplies matrices along axis {axis}"),
    )
)


# Weights -------------------------------------------------------------------------------------------


def check_constant(type: TensorType, axis: int, what: str) -> None:
    """Refuses what is not i8 without zero points, with one scale or one along `axis`."""
    require(type.dtype == DType.I8 and type.quant is not None, f"the {what} are not quantized i8")
    assert type.quant is not None
    require(type.quant.axis in (None, axis), f"the {what}' scales lie along axis {type.quant.axis}")
    require(not any(type.quant.zero_points), f"the {what} have zero points other than 0")


def _prelu(sig: Signature) -> Sequence[TensorType]:
    x, slopes = sig.types
    check_activation(x, "input")
    require(x.rank >= 2 and slopes.shape == (x.shape[1],), f"slopes are {slopes}, not one a channel of {x}")
    check_constant(slopes, -1, "slopes")
    return _result(sig, x.shape)


def _prelu_axes(ports: Ports) -> Iterator[Relation]:
    yield from equal_axes(0, range(ports.result.rank))
    yield Tie(Axis(1, 0), Axis(OUT, 1))


register(
    OpDef(
        f"{PREFIX}prelu",
        "x, or below zero x times the slope of its channel.",
        ("x", "slopes"),
        _prelu,
        SCALE,
        axes=Axes(_prelu_axes, ""),
    )
)


def _conv_transpose(sig: Signature) -> Sequence[TensorType]:
    x, w, bias = sig.types
    check_activation(x, "input")
    require(x.rank == w.rank >= 3 and w.shape[0] == x.shape[1], f"weights {w} do not fit {x}")
    check_constant(w, 1, "weights")
    filters = w.shape[1]
    require((bias.shape, bias.dtype) == ((filters,), DType.I32), f"bias is {bias}, not {filters} x i32")
    return _result(sig, (x.shape[0], filters, *transposed_extents(sig, x.shape[2:], w.shape[2:])))


def _conv_transpose_macs(types: Types, _result: TensorType) -> int:
    kernel = types[1].elements // types[1].shape[0]
    return types[0].elements * kernel


def _conv_transpose_axes(_ports: Ports) -> Iterator[Relation]:
    yield from (Tie(Axis(0, 0), Axis(OUT, 0)), Tie(Axis(0, 1), Axis(1, 0)), Summed(Axis(0, 1)))
    yield from (Tie(Axis(port, axis), Axis(OUT, 1)) for port, axis in ((1, 1), (2, 0)))


register(
    OpDef(
        f"{PREFIX}conv_transpose",
        "Transposed convolution with C x M x kernel weights, and bias; pads are cut off the result.",
        ("x", "weights", "bias"),
        _conv_transpose,
        (*WINDOW, Attribute("output_padding", "ints"), *RESULT),
        _conv_transpose_macs,
        axes=Axes(_conv_transpose_axes, WINDOWS),
    )
)


# Resize --------------------------------------------------------------------------------------------


def _resize(sig: Signature) -> Sequence[TensorType]:
    (x,), shape = sig.types, sig["shape"]
    check_activation(x, "input")
    require(x.rank == 4 and len(shape) == 2 and min(shape) > 0, f"it resizes {x} to {extents(shape)}")
    require(not (sig["align_corners"] and sig["half_pixel"]), "corners lie in place, or middles, not both")
    return [TensorType((*x.shape[:2], *shape), DType.U8, quant=x.quant)]


register(
    OpDef(
        f"{PREFIX}resize",
        "Bilinear interpolation of height and width, with weights of 1/1024.",
        ("x",),
        _resize,
        (
            Attribute("shape", "ints", doc="height and width"),
            Attribute("align_corners", "bool", False),
            Attribute("half_pixel", "bool", False),
        ),
        axes=Axes(lambda _ports: equal_axes(0, (0, 1)), WINDOWS),
    )
)
