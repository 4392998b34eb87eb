"""Normalizations and softmax."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from ..axes import OUT, Axes, Axis, Fixed, Ports, Relation, Tie
from ..opdef import Attribute, OpDef, Signature
from ..types import TensorType
from .axes import equal_axes
from .rows import register
from .rules import floating, normalize_axis, require, same_dtype


def _per_channel(sig: Signature) -> Sequence[TensorType]:
    x, *parameters = sig.types
    require(x.rank >= 2, f"input {x} has no channel axis")
    for p in parameters:
        require(p.shape == (x.shape[1],), f"a parameter of type {p} does not fit {x.shape[1]} channels")
    floating(x)
    return [TensorType(x.shape, same_dtype(sig))]


def _per_channel_axes(spatial: bool) -> Callable[[Ports], Iterator[Relation]]:
    """Parameters lie along the channels; `spatial` axes are elementwise too."""

    def relations(ports: Ports) -> Iterator[Relation]:
        yield from equal_axes(0, range(ports.result.rank if spatial else 2))
        for port in range(1, len(ports.types)):
            yield Tie(Axis(port, 0), Axis(OUT, 1))

    return relations


def _but(axes: Iterable[int], reason: str, ports: Ports) -> Iterator[Relation]:
    """One operand, elementwise but for `axes`, along which the operator `reason`."""
    for axis in range(ports.result.rank):
        if axis in axes:
            yield from (Fixed(Axis(port, axis), reason.format(axis=axis)) for port in (0, OUT))
        else:
            yield Tie(Axis(0, axis), Axis(OUT, axis))


_EPSILON = Attribute("epsilon", "float", 1e-5)

register(
    OpDef(
        "nn.batch_norm",
        "scale (x - mean) / sqrt(variance + epsilon) + bias, per channel.",
        ("x", "scale", "bias", "mean", "variance"),
        _per_channel,
        (_EPSILON,),
        axes=Axes(_per_channel_axes(True), ""),
    )
)
register(
    OpDef(
        "nn.instance_norm",
        "Each image's channel brought to mean 0, variance 1, then scale and bias.",
        ("x", "scale", "bias"),
        _per_channel,
        (_EPSILON,),
        axes=Axes(_per_channel_axes(False), "normalizes over axis {axis}"),
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


def _layer_norm_axes(ports: Ports) -> Iterator[Relation]:
    first = ports["axis"] % ports.result.rank
    return _but(range(first, ports.result.rank), "normalizes over axis {axis}", ports)


register(
    OpDef(
        "nn.layer_norm",
        "Axes `axis` and up brought to mean 0, variance 1, then scale and bias.",
        ("x", "scale", "bias"),
        _layer_norm,
        (Attribute("axis", "int", -1), _EPSILON),
        axes=Axes(_layer_norm_axes, "scales along axis {axis} what it normalizes over it"),
    )
)


def _lrn(sig: Signature) -> Sequence[TensorType]:
    x = sig.types[0]
    require(x.rank >= 2, f"input {x} has no channel axis")
    require(sig["size"] >= 1, f"a neighbourhood of {sig['size']} channels")
    return [TensorType(x.shape, floating(x))]


def _lrn_axes(ports: Ports) -> Iterator[Relation]:
    return _but((1,), "normalizes by neighbours along axis {axis}", ports)


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
        axes=Axes(_lrn_axes, ""),
    )
)


def _softmax(sig: Signature) -> Sequence[TensorType]:
    x = sig.types[0]
    normalize_axis(sig["axis"], x.rank)
    return [TensorType(x.shape, floating(x))]


def _softmax_axes(ports: Ports) -> Iterator[Relation]:
    return _but((ports["axis"] % ports.result.rank,), "takes a softmax along axis {axis}", ports)


for _name, _doc in {
    "softmax": "e^x over its sum along the axis.",
    "log_softmax": "Logarithm of the softmax along the axis.",
}.items():
    register(
        OpDef(
            f"nn.{_name}",
            _doc,
            ("x",),
            _softmax,
            (Attribute("axis", "int", -1),),
            axes=Axes(_softmax_axes, ""),
        )
    )
