"""Operators that multiply: convolutions, matrix products; and pools, which share their windows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..axes import OUT, Axes, Axis, Fixed, Narrowing, Ports, Relation, Summed, Tie
from ..literals import written
from ..opdef import Attribute, OpDef, Signature, Types
from ..types import DType, TensorType
from .axes import WINDOWS, broadcast_axes, equal_axes, extras, spread
from .rows import register
from .rules import (
    Shape,
    broadcast,
    limit_window,
    numeric,
    reaching,
    require,
    window_extents,
    with_epilogue,
)

EPILOGUE = Attribute("epilogue", "epilogue", (), "element-wise steps applied to the result, in order")


SUMS = Attribute(
    "sums", "dtype", DType.F32, "of f16 operands: the type that sums may be rounded to on the way, f32 or f16"
)


def _sums(sig: Signature) -> None:
    """Refuses sums in a type that the operands do not have."""
    sums, dtype = sig["sums"], sig.types[0].dtype
    require(sums in (DType.F32, DType.F16), f"sums are f32 or f16, not {sums.value}")
    require(sums == DType.F32 or dtype == DType.F16, f"sums in {sums.value} of {dtype.value} operands")


REACH = Attribute(
    "reach", "ints", (), "[a, s, n]: the last operand's channels from s on are added to a to a + n alone"
)

WINDOW = (
    Attribute("strides", "ints", doc="step of the window, one per spatial axis"),
    Attribute("pads", "ints", doc="zeros around the input: begins of all spatial axes, then ends"),
    Attribute("dilations", "ints", doc="distance between taps, one per spatial axis"),
)


def conv_shape(sig: Signature) -> Shape:
    """The result's shape of a convolution: operands N x C x spatial and M x C/groups x kernel."""
    x, w = sig.types[:2]
    _same_rank(x, w)
    _check_groups(sig, w.shape[1] * sig["groups"], w.shape[0])
    return (x.shape[0], w.shape[0], *window_extents(sig, x.shape[2:], w.shape[2:]))


def _same_rank(x: TensorType, w: TensorType) -> None:
    require(
        x.rank == w.rank and x.rank >= 3,
        lambda: f"input {x} and weights {w} need the same rank, 3 or more",
    )


def _check_groups(sig: Signature, channels: int, divided: int) -> None:
    """The weights are for `channels`; the groups divide `divided`."""
    x, w = sig.types[:2]
    groups = sig["groups"]
    require(
        groups >= 1 and x.shape[1] == channels and divided % groups == 0,
        lambda: f"{x.shape[1]} channels and weights {w} do not fit {groups} groups",
    )


def _same_dtype(x: TensorType, w: TensorType) -> None:
    require(x.dtype == w.dtype, f"input is {x.dtype.value}, weights are {w.dtype.value}")


def conv_macs(types: Types, result: TensorType) -> int:
    """A sum over one filter's weights for each element of the result."""
    return result.elements * math.prod(types[1].shape[1:])


def _conv(sig: Signature) -> Sequence[TensorType]:
    x, w = sig.types[:2]
    _same_dtype(x, w)
    _sums(sig)
    shape = conv_shape(sig)
    if sig["reach"]:
        binary = [step.op for step in sig["epilogue"] if step.function.arity == 2]
        require(binary[-1:] == ["add"], "the step of an operand that reaches some channels is add")
    return with_epilogue(sig, shape, numeric(x), 2, reaching(sig, shape))


def conv_relations(ports: Ports) -> Iterator[Relation]:
    """Of N x C x spatial, M x C/groups x kernel and N x M x spatial; more operands are not looked at."""
    groups, inputs = ports["groups"], ports.types[1].shape[1]
    yield Tie(Axis(0, 0), Axis(OUT, 0))
    yield Tie(Axis(1, 0), Axis(OUT, 1))
    yield from _grouped(groups, inputs, Axis(0, 1), Axis(1, 1))
    filters = ports.types[1].shape[0] // groups
    group, place = spread(groups, filters)
    if inputs == 1 and groups > 1:  # each channel goes with the filters that look at it alone
        yield Tie(Axis(0, 1), Axis(OUT, 1), group, np.arange(groups * filters))
    elif groups > 1:  # every group keeps as many filters
        yield Tie(Axis(OUT, 1), Axis(OUT, 1), place, np.arange(groups * filters))


def _grouped(groups: int, inputs: int, x: Axis, weights: Axis) -> Iterator[Relation]:
    """The channels of an input and the weights that multiply them: `inputs` in each of the groups.

    All groups must stay equally large, and share the axis of the weights: they lose the same places.
    """
    if groups == 1:
        yield from (Tie(x, weights), Summed(x))
    elif inputs > 1:
        _, place = spread(groups, inputs)
        yield from (Tie(x, weights, np.arange(groups * inputs), place), Summed(x))


def _conv_axes(ports: Ports) -> Iterator[Relation]:
    yield from conv_relations(ports)
    yield from reaching_extras(ports, 2)


def reaching_extras(ports: Ports, first: int) -> Iterator[Relation]:
    """Operands of a convolution from `first` on; channels stay where the last one reaches some alone."""
    if not ports["reach"]:
        yield from extras(ports, first, (0, 1))
        return
    last = len(ports.types) - 1
    yield Tie(Axis(last, 0), Axis(OUT, 0))
    for port in (last, OUT):
        yield Fixed(Axis(port, 1), "is added to a range of channels")
    for port in range(first, last):
        yield from broadcast_axes(ports, port, (0, 1))


def conv_groups(n: Narrowing) -> Mapping[str, Any]:
    """As many groups as channels are left where each channel is a group of its own."""
    depthwise = n["groups"] > 1 and n.ports.types[0].shape[1] == n["groups"]
    return {"groups": len(n.kept(0, 1))} if depthwise else {}


register(
    OpDef(
        "nn.conv",
        "Convolution (cross-correlation) of N x C x spatial with M x C/groups x kernel weights.",
        ("input", "weights", "extras*"),
        _conv,
        (*WINDOW, Attribute("groups", "int", 1), EPILOGUE, SUMS, REACH),
        conv_macs,
        elementwise_from=2,
        axes=Axes(_conv_axes, WINDOWS, conv_groups),
    )
)


def _conv_transpose(sig: Signature) -> Sequence[TensorType]:
    x, w = sig.types[:2]
    _same_dtype(x, w)
    _same_rank(x, w)
    _check_groups(sig, w.shape[0], x.shape[1])
    spatial = transposed_extents(sig, x.shape[2:], w.shape[2:])
    return with_epilogue(sig, (x.shape[0], w.shape[1] * sig["groups"], *spatial), numeric(x), 2)


def transposed_extents(sig: Signature, size: Sequence[int], kernel: Sequence[int]) -> tuple[int, ...]:
    n = len(size)
    strides, pads, dilations, more = (sig[a] for a in ("strides", "pads", "dilations", "output_padding"))
    require(
        len(strides) == n and len(dilations) == n and len(more) == n and len(pads) == 2 * n,
        f"strides, dilations, output_padding and pads do not fit {n} spatial axes",
    )
    require(min(strides) > 0 and min(dilations) > 0, "strides and dilations must be positive")
    require(min(*size, *kernel) > 0, f"extents {written(size)} and kernel {written(kernel)} must be positive")
    require(
        min(pads) >= 0 and min(more) >= 0,
        f"pads {written(pads)} or output_padding {written(more)} are negative",
    )
    full = [(size[i] - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1 + more[i] for i in range(n)]
    spatial = tuple(full[i] - pads[i] - pads[n + i] for i in range(n))
    require(min(spatial) > 0, f"padding {written(pads)} leaves nothing of the result")
    limit_window(kernel, full)
    return spatial


def _conv_transpose_macs(types: Types, _result: TensorType) -> int:
    return types[0].elements * math.prod(types[1].shape[1:])


def _conv_transpose_axes(ports: Ports) -> Iterator[Relation]:
    """Of N x C x spatial, C x M/groups x kernel and N x M x spatial."""
    groups, (inputs, filters) = ports["groups"], ports.types[1].shape[:2]
    yield Tie(Axis(0, 0), Axis(OUT, 0))
    yield Tie(Axis(0, 1), Axis(1, 0))
    group, place = spread(groups, filters)
    if groups == inputs > 1:
        yield Tie(Axis(0, 1), Axis(OUT, 1), group, np.arange(groups * filters))
    else:
        yield from (Summed(Axis(0, 1)), Tie(Axis(1, 1), Axis(OUT, 1), place, np.arange(groups * filters)))
        _, place = spread(groups, inputs // groups)
        yield Tie(Axis(0, 1), Axis(0, 1), place, np.arange(inputs))
    yield from extras(ports, 2, (0, 1))


register(
    OpDef(
        "nn.conv_transpose",
        "Transposed convolution with C x M/groups x kernel weights; pads are cut off the result.",
        ("input", "weights", "extras*"),
        _conv_transpose,
        (*WINDOW, Attribute("groups", "int", 1), Attribute("output_padding", "ints"), EPILOGUE),
        _conv_transpose_macs,
        axes=Axes(_conv_transpose_axes, WINDOWS, conv_groups),
    )
)


def _matmul(sig: Signature) -> Sequence[TensorType]:
    a, b = sig.types[:2]
    require(a.dtype == b.dtype, f"operands are {a.dtype.value} and {b.dtype.value}")
    _sums(sig)
    require(a.rank >= 1 and b.rank >= 1, "scalars cannot be multiplied as matrices")
    require(a.shape[-1] == b.shape[-2 if b.rank > 1 else 0], f"inner extents of {a} and {b} differ")
    batch = broadcast(a.shape[:-2], b.shape[:-2])
    rows = a.shape[-2:-1]  # of a vector: none
    columns = b.shape[-1:] if b.rank > 1 else ()
    return with_epilogue(sig, (*batch, *rows, *columns), numeric(a), 2)


def _matmul_macs(types: Types, result: TensorType) -> int:
    return result.elements * types[0].shape[-1]


def _matmul_axes(ports: Ports) -> Iterator[Relation]:
    a, b, result = ports.types[0], ports.types[1], ports.result
    inner = Axis(1, max(0, b.rank - 2))
    yield from (Tie(Axis(0, a.rank - 1), inner), Summed(Axis(0, a.rank - 1)))
    columns = int(b.rank > 1)
    if a.rank > 1:
        yield Tie(Axis(0, a.rank - 2), Axis(OUT, result.rank - 1 - columns))
    if columns:
        yield Tie(Axis(1, b.rank - 1), Axis(OUT, result.rank - 1))
    batch = result.rank - columns - int(a.rank > 1)
    for port, type in enumerate((a, b)):
        yield from _batch_axes(port, type.shape[:-2], ports.result.shape[:batch])
    yield from extras(ports, 2, range(result.rank))


def _batch_axes(port: int, shape: Shape, batch: Shape) -> Iterator[Relation]:
    """Leading axes of a matrix product's operand, which broadcast to `batch`."""
    offset = len(batch) - len(shape)
    for axis, extent in enumerate(shape):
        if extent == batch[axis + offset]:
            yield Tie(Axis(port, axis), Axis(OUT, axis + offset))


register(
    OpDef(
        "nn.matmul",
        "Matrix product over the last two axes, leading axes broadcast (numpy.matmul).",
        ("a", "b", "extras*"),
        _matmul,
        (EPILOGUE, SUMS),
        _matmul_macs,
        axes=Axes(_matmul_axes, "repeats one matrix along axis {axis}"),
    )
)


def pool_shape(sig: Signature) -> Shape:
    """The result's shape of a pool over N x C x spatial."""
    x = sig.types[0]
    require(x.rank >= 3, f"pooling needs spatial axes, input is {x}")
    return (*x.shape[:2], *window_extents(sig, x.shape[2:], sig["kernel"], sig["ceil_mode"]))


def _pool(sig: Signature) -> Sequence[TensorType]:
    return [TensorType(pool_shape(sig), numeric(sig.types[0]))]


POOL_AXES = Axes(lambda _ports: equal_axes(0, (0, 1)), WINDOWS)
POOL = (Attribute("kernel", "ints"), *WINDOW, Attribute("ceil_mode", "bool", False))

register(
    OpDef(
        "nn.max_pool",
        "Largest element under the window; padding never wins.",
        ("input",),
        _pool,
        POOL,
        moves=True,
        axes=POOL_AXES,
    )
)
register(
    OpDef(
        "nn.average_pool",
        "Mean under the window; padding counts where count_include_pad.",
        ("input",),
        _pool,
        (*POOL, Attribute("count_include_pad", "bool", False)),
        axes=POOL_AXES,
    )
)
