"""Reductions over axes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..axes import OUT, Axes, Axis, Fixed, Ports, Relation, Summed, Tie
from ..literals import written
from ..opdef import Attribute, OpDef, Signature
from ..types import DType, TensorType
from .axes import axes_beside
from .rows import register
from .rules import floating, normalize_axis, numeric, require


def reduced_shape(shape: tuple[int, ...], axes: Sequence[int], keepdims: bool) -> tuple[int, ...]:
    """`shape` with `axes` made 1, or dropped."""
    gone = {normalize_axis(a, len(shape)) for a in axes}
    require(len(gone) == len(axes), f"axes {written(axes)} name one axis twice")
    return tuple(1 if i in gone else d for i, d in enumerate(shape) if keepdims or i not in gone)


def _extreme(sig: Signature) -> Sequence[TensorType]:
    x = sig.types[0]
    return [TensorType(reduced_shape(x.shape, sig["axes"], sig["keepdims"]), x.dtype)]


def _sum(sig: Signature) -> Sequence[TensorType]:
    numeric(sig.types[0])
    return _extreme(sig)


def _of_floats(sig: Signature) -> Sequence[TensorType]:
    floating(sig.types[0])
    return _extreme(sig)


def _reduced(axes: Sequence[int], summed: bool, ports: Ports) -> Iterator[Relation]:
    """The axes that are reduced may lose elements where these are `summed`; others are carried."""
    x = ports.types[0]
    gone = {a % x.rank for a in axes}
    kept = [a for a in range(x.rank) if a not in gone]
    places = (
        range(x.rank) if ports["keepdims"] else [None if a in gone else kept.index(a) for a in range(x.rank)]
    )
    for axis, place in enumerate(places):
        if axis not in gone:
            assert place is not None
            yield Tie(Axis(0, axis), Axis(OUT, place))
        elif summed:
            yield Summed(Axis(0, axis))
        else:
            yield Fixed(
                Axis(0, axis), f"reduces axis {axis} to one element that depends on how many there are"
            )


def _over(summed: bool) -> Axes:
    return Axes(lambda ports: _reduced(ports["axes"], summed, ports), "")


_SUMMED, _COUNTED = _over(True), _over(False)
_AXES = (Attribute("axes", "ints"), Attribute("keepdims", "bool", True))

register(OpDef("nn.reduce_mean", "Mean over the axes.", ("x",), _sum, _AXES, axes=_COUNTED))
register(OpDef("nn.reduce_sum", "Sum over the axes.", ("x",), _sum, _AXES, axes=_SUMMED))
register(OpDef("nn.reduce_prod", "Product over the axes.", ("x",), _sum, _AXES, axes=_COUNTED))
register(OpDef("nn.reduce_l1", "Sum of magnitudes over the axes.", ("x",), _sum, _AXES, axes=_SUMMED))
register(OpDef("nn.reduce_sum_square", "Sum of squares over the axes.", ("x",), _sum, _AXES, axes=_SUMMED))
register(
    OpDef(
        "nn.reduce_l2", "Root of the sum of squares over the axes.", ("x",), _of_floats, _AXES, axes=_SUMMED
    )
)
register(
    OpDef("nn.reduce_log_sum", "Logarithm of the sum over the axes.", ("x",), _of_floats, _AXES, axes=_SUMMED)
)
register(
    OpDef(
        "nn.reduce_max",
        "Largest element over the axes; of none, the type's lowest.",
        ("x",),
        _extreme,
        _AXES,
        moves=True,
        axes=_COUNTED,
    )
)
register(
    OpDef(
        "nn.reduce_min",
        "Smallest element over the axes; of none, the type's highest.",
        ("x",),
        _extreme,
        _AXES,
        moves=True,
        axes=_COUNTED,
    )
)


def _argmax(sig: Signature) -> Sequence[TensorType]:
    x = sig.types[0]
    axis = normalize_axis(sig["axis"], x.rank)
    require(x.rank > 0 and x.shape[axis] > 0, "no largest element of an empty axis")
    return [TensorType(reduced_shape(x.shape, (axis,), sig["keepdims"]), DType.I64)]


register(
    OpDef(
        "nn.argmax",
        "Index of the largest element along the axis; the first, or the last of equals.",
        ("x",),
        _argmax,
        (
            Attribute("axis", "int"),
            Attribute("keepdims", "bool", True),
            Attribute("select_last", "bool", False),
        ),
        axes=Axes(lambda ports: _reduced((ports["axis"],), False, ports), ""),
    )
)


def _cumsum(sig: Signature) -> Sequence[TensorType]:
    x = sig.types[0]
    numeric(x)
    normalize_axis(sig["axis"], x.rank)
    return [x]


register(
    OpDef(
        "nn.cumsum",
        "Sums of all elements up to each along the axis: with it or (exclusive) without, from either end.",
        ("x",),
        _cumsum,
        (
            Attribute("axis", "int"),
            Attribute("exclusive", "bool", False),
            Attribute("reverse", "bool", False),
        ),
        axes=Axes(axes_beside, "sums up what lies along axis {axis}"),
    )
)
