"""Physical removal: a graph without some units of its groups.

Every constant loses its part, attributes follow (`Axes.attributes` beside each operator's type
rule), and all types are inferred anew. Names stay, so that an ONNX initializer keeps its name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.channels import Channels, Cut, find_channels
from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.registry import create
from secateur.ir.types import Quant, TensorType

Array = NDArray[Any]
Gone = Mapping[str, Collection[int]]
Kept = dict[str, dict[int, list[int]]]
"""Name of a constant -> axis -> indices that stay."""


def remove(graph: Graph, gone: Gone, channels: Channels | None = None) -> Graph:
    """A new graph without the units `gone` (group name -> units); `channels` are the graph's, where known.

    SecateurError: an unknown group or unit, or an axis of which nothing would be left.
    """
    return _Removal(graph, Cut(channels or find_channels(graph), gone)).graph()


def kept_indices(graph: Graph, gone: Gone, channels: Channels | None = None) -> Kept:
    """What `remove` leaves of each named constant that loses something: the indices of its axes that stay."""
    cut = Cut(channels or find_channels(graph), gone)
    values = [v for v in graph.values() if v.is_constant and v.name and cut.touches(v)]
    return {
        v.name: {a: cut.kept(v, a).tolist() for a in range(v.type.rank) if cut.gone(v, a).any()}
        for v in values
    }


class _Removal:
    def __init__(self, graph: Graph, cut: Cut) -> None:
        self.before, self.cut = graph, cut
        self.after = Graph(graph.name)
        self.values: dict[Value, Value] = {v: self.after.add_input(v.type, v.name) for v in graph.inputs}

    def graph(self) -> Graph:
        for op in self.before.operators:
            self._rebuild(op)
        self.after.set_outputs([self.values[v] for v in self.before.outputs], self.before.output_names)
        self.after.remove_dead()
        return self.after

    def _rebuild(self, op: Operator) -> None:
        if any(map(self.cut.touches, (*op.operands, *op.results))):
            new = self._narrowed(op)
        else:
            operands = [self.values[v] for v in op.operands]
            new = Operator(op.definition, operands, op.attributes, [r.type for r in op.results], op.loc)
        self.after.append(new)
        for old, value in zip(op.results, new.results, strict=True):
            value.name = old.name
            self.values[old] = value

    def _narrowed(self, op: Operator) -> Operator:
        operands = [self.values[v] for v in op.operands]
        if op.name == "nn.constant":
            changed: dict[str, Any] = {"value": self._sliced(op.result, op["value"])}
        else:
            narrowing, axes = self.cut.narrowing(op), op.definition.axes
            changed = dict(axes.attributes(narrowing))
            for port, array in axes.constants(narrowing).items():
                operands[port] = self._constant(array, op.operands[port])
        attributes = {k: changed.get(k, v) for k, v in op.attributes.items()}
        new = create(op.name, operands, attributes, op.loc)
        new.result.type = self._typed(op.result, new.result.type)
        return new

    def _constant(self, array: Array, like: Value) -> Value:
        op = self.after.append(create("nn.constant", [], {"value": array}))
        op.result.name = like.name
        return op.result

    def _sliced(self, value: Value, array: Array) -> Array:
        for axis in range(array.ndim):
            if self.cut.gone(value, axis).any():
                array = np.take(array, self.cut.kept(value, axis), axis)
        return np.ascontiguousarray(array)

    def _typed(self, old: Value, inferred: TensorType) -> TensorType:
        """The inferred type with what no rule infers: the layout, and a quantization given otherwise."""
        quant = old.type.quant
        if quant is not None and quant.axis is not None:
            quant = _kept_scales(quant, quant.axis, self.cut.kept(old, quant.axis).tolist())
        return replace(inferred, layout=old.type.layout, quant=quant)


def _kept_scales(quant: Quant, axis: int, kept: Sequence[int]) -> Quant:
    return Quant(tuple(quant.scales[i] for i in kept), tuple(quant.zero_points[i] for i in kept), axis)
