"""Operators at other extents, by their types alone: what a cost table is asked before anything is removed.

Nothing of a network's size is allocated: a constant whose shape changes becomes one element seen with
strides of zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from secateur.ir.choice import Choice, CostTable
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Array, Graph, Operator, Value, constant_of
from secateur.ir.opdef import TypeRuleError
from secateur.ir.registry import lookup
from secateur.ir.types import Layout, Quant, TensorType

Shape = tuple[int, ...]
Attributes = Mapping[str, Any]
Signature = tuple[Any, ...]


class UnsizedError(SecateurError):
    """An operator that cannot be had at these extents."""


def sized(op: Operator, operands: Sequence[Shape], attributes: Attributes = {}) -> Operator:  # noqa: B006
    """`op` on operands of its own of these shapes, in row-major types; `attributes` are those that change.

    UnsizedError where the operator has no meaning at these shapes.
    """
    values = [at_shape(v, shape) for v, shape in zip(op.operands, operands, strict=True)]
    return resized(op, values, attributes)


def resized(op: Operator, operands: Sequence[Value], attributes: Attributes) -> Operator:
    """`op` on other operands, with result types inferred anew; UnsizedError where it has no meaning there."""
    given = {**op.attributes, **attributes}
    types = result_types(op, [v.type for v in operands], given)
    return Operator(op.definition, operands, given, types, op.loc)


def result_types(op: Operator, operands: Sequence[TensorType], attributes: Attributes) -> list[TensorType]:
    """Of `op` on operands of these types, with all of these attributes; UnsizedError as `resized`."""
    try:
        types = op.definition.result_types(operands, attributes)
    except TypeRuleError as error:
        raise UnsizedError(f"{op.called}: {error}") from None
    return [typed(r.type, t.shape) for r, t in zip(op.results, types, strict=True)]


def at_shape(old: Value, shape: Shape) -> Value:
    """A value like another, of this shape: a constant (the same, where it has the shape), or an operand."""
    type = typed(old.type, shape)
    array = constant_of(old)
    if array is None:
        return Value(type, old.name)
    return old if array.shape == shape else _constant(array, type)


def _constant(array: Array, type: TensorType) -> Value:
    """One element, or zero, in every place."""
    first = array.reshape(-1)[:1] if array.size else np.zeros(1, array.dtype)
    value = np.broadcast_to(first, type.shape)
    return Operator(lookup("nn.constant"), [], {"value": value}, [type]).result


def typed(type: TensorType, shape: Shape) -> TensorType:
    """The type at another shape; scales along an axis are cut, or the first of them repeated."""
    return TensorType(shape, type.dtype, type.layout, _cut(type.quant, shape))


def _cut(quant: Quant | None, shape: Shape) -> Quant | None:
    if quant is None or quant.axis is None:
        return quant
    places = [i if i < len(quant.scales) else 0 for i in range(shape[quant.axis])]
    scales = tuple(quant.scales[i] for i in places)
    return Quant(scales, tuple(quant.zero_points[i] for i in places), quant.axis)


def with_own_constants(graph: Graph, refitted: bool = False) -> Graph:
    """Each use of a constant that has several is of a copy: extents are by value, and readers may lose
    different channels. Copies hold the same array, and so are one where they keep the same of it; not those
    that will be `refitted`, as repair does with each layer's weights. Changes the graph."""
    for op in [op for op in graph.operators if op.name == "nn.constant"]:
        for reader, port in list(op.result.uses)[1:]:
            own = {"value": op["value"].view()} if refitted and is_layer(reader) and port == 1 else {}
            copy = Operator(op.definition, [], {**op.attributes, **own}, [op.result.type], op.loc)
            graph.insert_before(reader, [copy])
            reader.set_operand(port, copy.result)
    return graph


def signature(op: Operator) -> Signature:
    """Equal for operators that cost the same; what constants hold does not count."""
    operands = tuple((v.type, v.is_constant) for v in op.operands)
    given = tuple(sorted((k, v) for k, v in op.attributes.items() if not isinstance(v, np.ndarray)))
    return op.name, operands, tuple(r.type for r in op.results), given


@dataclass
class SizedCosts:
    """A cost table that is asked once for operators that cost the same; `asked` counts how often.

    Implements `secateur.ir.choice.CostTable`.
    """

    costs: CostTable
    _known: dict[Signature, tuple[Choice, ...]] = field(default_factory=dict, repr=False)

    @property
    def asked(self) -> int:
        return len(self._known)

    def choices(self, op: Operator) -> tuple[Choice, ...]:
        key = signature(op)
        if key not in self._known:
            self._known[key] = self.costs.choices(op)
        return self._known[key]

    def conversion(self, type: TensorType, source: Layout, destination: Layout) -> float:
        return self.costs.conversion(type, source, destination)

    def weight_bytes(self, op: Operator, choice: Choice) -> int:
        return self.costs.weight_bytes(op, choice)


# Layers --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Axes:
    """Where an operator with weights has its channels and filters: axes of input, weights and result."""

    channels: tuple[int, int]
    filters: tuple[int, int]


_LAYERS = {
    "conv": Axes((1, 1), (0, 1)),
    "linear_conv": Axes((1, 1), (0, 1)),
    "conv_transpose": Axes((1, 0), (1, 1)),
    "matmul": Axes((-1, -2), (-1, -1)),
    "linear_matmul": Axes((-1, -2), (-1, -1)),
}


def is_layer(op: Operator) -> bool:
    """Whether `at_counts` knows the operator, a convolution or a product by a constant matrix."""
    if op.name.split(".", 1)[1] not in _LAYERS:
        return False
    return op.operands[1].is_constant and op.operands[1].type.rank >= 2


def is_depthwise(op: Operator) -> bool:
    """Whether each channel has filters of its own, so that channels and filters are one count."""
    groups = int(op.get("groups", 1))
    return groups > 1 and groups == op.operands[0].type.shape[1]


def channels_of(op: Operator) -> int:
    """How many channels a layer reads."""
    return op.operands[0].type.shape[_LAYERS[op.name.split(".", 1)[1]].channels[0]]


def filters_of(op: Operator) -> int:
    """How many channels a layer makes."""
    return op.result.type.shape[_LAYERS[op.name.split(".", 1)[1]].filters[1]]


def at_counts(op: Operator, channels: int | None = None, filters: int | None = None) -> Operator:
    """A layer (`is_layer`) with other counts of channels and filters; None leaves one as it is.

    The counts of a depthwise convolution are tied: either of them gives both. Those of a grouped one
    must be multiples of its groups. Operands of the epilogue follow the result. UnsizedError where there is
    no such layer.
    """
    axes = _LAYERS[op.name.split(".", 1)[1]]
    old_channels, old_filters = channels_of(op), filters_of(op)
    if is_depthwise(op):
        each = old_filters // old_channels
        channels = channels if channels is not None else (filters or old_filters) // each
        filters = channels * each
    channels, filters = channels or old_channels, filters or old_filters
    shapes = [list(v.type.shape) for v in op.operands]
    shapes[0][axes.channels[0]] = channels
    groups = 1 if is_depthwise(op) else op.attributes.get("groups", 1)
    if not is_depthwise(op):
        shapes[1][axes.channels[1]] = channels if axes.channels[1] != 1 else channels // groups
    shapes[1][axes.filters[0]] = _weight_filters(op, axes, filters, channels)
    axis = axes.filters[1] % op.result.type.rank - op.result.type.rank  # counted from behind
    for shape in shapes[2:]:
        _follow(shape, axis, old_filters, filters)
    given = {"groups": channels} if is_depthwise(op) else {}
    return sized(op, [tuple(s) for s in shapes], given)


def _weight_filters(op: Operator, axes: Axes, filters: int, channels: int) -> int:
    """Filters along the weights' axis: those of one group where weights are transposed."""
    if axes.channels[1] != 0:
        return filters
    groups = channels if is_depthwise(op) else op.attributes.get("groups", 1)
    return filters // int(groups)


def _follow(shape: list[int], axis: int, old: int, new: int) -> None:
    """An operand that has as many elements as there are filters, along their axis or as a vector."""
    if len(shape) >= -axis and shape[axis] == old:
        shape[axis] = new
    elif len(shape) == 1 and shape[0] == old:
        shape[0] = new
