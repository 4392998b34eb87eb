"""Normalizations and softmax."""

from __future__ import annotations

from collections.abc import Sequence

from ..opdef import Attribute, OpDef, Signature
from ..types import TensorType
from .rows import register
from .rules import floating, normalize_axis, require, same_dtype


def _per_channel(sig: Signature) -> Sequence[TensorType]:
    x, *parameters = sig.types
    require(x.rank >= 2, f"input {x} has no channel axis")
    for p in parameters:
        require(p.shape == (x.shape[1],), f"a parameter of type {p} does not fit {x.shape[1]} channels")
    floating(x)
    return [TensorType(x.shape, same_dtype(sig))]


_EPSILON = Attribute("epsilon", "float", 1e-5)

register(
    OpDef(
        "nn.batch_norm",
        "scale (x - mean) / sqrt(variance + epsilon) + bias, per channel.",
        ("x", "scale", "bias", "mean", "variance"),
        _per_channel,
        (_EPSILON,),
    )
)
register(
    OpDef(
        "nn.instance_norm",
        "Each image's channel brought to mean 0, variance 1, then scale and bias.",
        ("x", "scale", "bias"),
        _per_channel,
        (_EPSILON,),
    )
)


def _layer_norm(sig: Signature) -> Sequence[TensorType]:
    x, *parameters = sig.types
    axis = normalize_axis(sig["axis"], x.rank)
    for p in parameters:
        wanted = (1,) * (x.rank - axis - p.rank) + p.shape
        fits = len(wanted) <= x.rank - axis and all(
            a in (1, b) for a, b in zip(wanted[::-1], x.shape[::-1], strict=False)
        )
        require(fits, f"a parameter of type {p} does not fit axes {axis} and up of {x}")
    floating(x)
    return [TensorType(x.shape, same_dtype(sig))]


register(
    OpDef(
        "nn.layer_norm",
        "Axes `axis` and up brought to mean 0, variance 1, then scale and bias.",
        ("x", "scale", "bias"),
        _layer_norm,
        (Attribute("axis", "int", -1), _EPSILON),
    )
)


def _lrn(sig: Signature) -> Sequence[TensorType]:
    x = sig.types[0]
    require(x.rank >= 2, f"input {x} has no channel axis")
    require(sig["size"] >= 1, f"a neighbourhood of {sig['size']} channels")
    return [TensorType(x.shape, floating(x))]


register(
    OpDef(
        "nn.lrn",
        "x / (bias + alpha/size * sum of squares over `size` neighbouring channels)^beta.",
        ("x",),
        _lrn,
        (
            Attribute("size", "int"),
            Attribute("alpha", "float", 1e-4),
            Attribute("beta", "float", 0.75),
            Attribute("bias", "float", 1.0),
        ),
    )
)


def _softmax(sig: Signature) -> Sequence[TensorType]:
    x = sig.types[0]
    normalize_axis(sig["axis"], x.rank)
    return [TensorType(x.shape, floating(x))]


for _name, _doc in {
    "softmax": "e^x over its sum along the axis.",
    "log_softmax": "Logarithm of the softmax along the axis.",
}.items():
    register(OpDef(f"nn.{_name}", _doc, ("x",), _softmax, (Attribute("axis", "int", -1),)))
