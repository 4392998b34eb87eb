"""Physical removal: a graph without some units of its groups.

Every constant loses its part, attributes follow (`Axes.attributes` beside each operator's type
rule), and all types are inferred anew; decisions (attribute `pruned`) are used up. Names stay, so
that an ONNX initializer keeps its name.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.axes import OUT
from secateur.ir.bounds import bounds_of
from secateur.ir.channels import Channels, Cut, Place, find_channels
from secateur.ir.channels.relations import place_of
from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.initializers import initializer_axis, initializer_of, name_and_form
from secateur.ir.opdef import DECISIONS
from secateur.ir.registry import create
from secateur.ir.types import Quant, TensorType

from .branches import Bypassed

Array = NDArray[Any]
Gone = Mapping[str, Collection[int]]
_LIMITS = ("nn.relu", "nn.clip")
Kept = dict[str, dict[int, list[int]]]
"""Name of an initializer -> axis -> indices that stay."""


def remove(
    graph: Graph, gone: Gone, channels: Channels | None = None, bypassed: Bypassed = MappingProxyType({})
) -> Graph:
    """A new graph without the units `gone` (group name -> units); `channels` are the graph's, where known.

    Of the additions `bypassed` one operand goes too, with what only it needs; an activation behind one that
    then does nothing goes as well. SecateurError: an unknown group or unit, or an axis of which nothing
    would be left.
    """
    return _Removal(graph, Cut(channels or find_channels(graph), gone), bypassed).graph()


def kept_indices(
    graph: Graph, gone: Gone, channels: Channels | None = None, bypassed: Bypassed = MappingProxyType({})
) -> Kept:
    """For each initializer that loses something by `remove`: the indices of its axes that stay.

    A constant that several operators read and that loses different parts there has a name for each. One
    that only bypassed operators read keeps no index of its first axis.
    """
    removal = _Removal(graph, Cut(channels or find_channels(graph), gone), bypassed)
    removal.graph()
    return removal.kept


class _Removal:
    def __init__(self, graph: Graph, cut: Cut, bypassed: Bypassed) -> None:
        self.before, self.cut, self.bypassed = graph, cut, bypassed
        self.after = Graph(graph.name)
        self.kept: Kept = {}
        self._names = {v.name for v in graph.values()}
        self._values: dict[Place, Value] = {
            Place(v): self.after.add_input(v.type, v.name) for v in graph.inputs
        }

    def graph(self) -> Graph:
        for op in self.before.operators:
            self._constants(op.result) if op.name == "nn.constant" else self._rebuild(op)
        outputs = [self._values[Place(v)] for v in self.before.outputs]
        self.after.set_outputs(outputs, self.before.output_names)
        self.after.remove_dead()
        if self.bypassed:
            self._note_gone()
        return self.after

    # constants

    def _constants(self, value: Value) -> None:
        """A constant once for every different part of it that is read."""
        places = [Place(value, *use) for use in value.uses]
        if self.before.is_output(value):
            places.insert(0, Place(value))
        parts: dict[tuple[bytes, ...], Value] = {}
        for place in places:
            part = tuple(self.cut.gone(place, a).tobytes() for a in range(value.type.rank))
            if part not in parts:
                parts[part] = self._part(place, self._fresh(value.name) if parts else value.name)
            self._values[place] = parts[part]

    def _part(self, place: Place, name: str) -> Value:
        losing = [a for a in range(place.value.type.rank) if self.cut.gone(place, a).any()]
        assert place.value.producer is not None
        array: Array = place.value.producer["value"]
        for axis in losing:
            array = np.take(array, self.cut.kept(place, axis), axis)
        part = self._constant(array, name, place.value.producer.loc)
        part.type = self._typed(place, part.type)
        if losing and name:
            self.kept[initializer_of(part)] = {
                initializer_axis(part, a): self.cut.kept(place, a).tolist() for a in losing
            }
        return part

    def _constant(self, array: Array, name: str, loc: str = "") -> Value:
        op = self.after.append(create("nn.constant", [], {"value": array}, loc))
        op.result.name = name
        return op.result

    def _fresh(self, name: str) -> str:
        """The name with a number that makes it a new one."""
        (stem, form), count = name_and_form(name), 2
        while name and f"{stem}__{count}{form}" in self._names:
            count += 1
        self._names.add(f"{stem}__{count}{form}")
        return f"{stem}__{count}{form}" if name else ""

    def _note_gone(self) -> None:
        """Of constants that nothing reads any more no index stays."""
        left = {initializer_of(v) for v in self.after.values() if v.is_constant and v.name}
        for value in self.before.values():
            if value.is_constant and value.name and value.uses and initializer_of(value) not in left:
                axes = {initializer_axis(value, 0): list[int]()} if value.type.rank else {}
                self.kept[initializer_of(value)] = axes

    # operators

    def _rebuild(self, op: Operator) -> None:
        if op in self.bypassed:
            self._values[Place(op.result)] = self._values[Place(op.operands[1 - self.bypassed[op]])]
        elif self._does_nothing(op):
            self._values[Place(op.result)] = self._values[Place(op.operands[0])]
        else:
            self._remake(op)

    def _does_nothing(self, op: Operator) -> bool:
        """Whether it is an activation of a bypassed sum whose skip lies within its limits already."""
        if op.name not in _LIMITS or op.operands[0].producer not in self.bypassed:
            return False
        low, high = (0.0, math.inf) if op.name == "nn.relu" else (op["min"], op["max"])
        return bounds_of(self._values[Place(op.operands[0])]).within(low, high)

    def _remake(self, op: Operator) -> None:
        places = [place_of(op, port) for port in (*range(len(op.operands)), OUT)]
        operands = [self._values[p] for p in places[:-1]]
        if any(map(self.cut.touches, places)):
            new = self._narrowed(op, operands)
        else:
            attributes = {k: v for k, v in op.attributes.items() if k not in DECISIONS}
            new = Operator(op.definition, operands, attributes, [r.type for r in op.results], op.loc)
        self.after.append(new)
        new.result.name = op.result.name
        self._values[Place(op.result)] = new.result

    def _narrowed(self, op: Operator, operands: list[Value]) -> Operator:
        narrowing, axes = self.cut.narrowing(op), op.definition.axes
        for port, array in axes.constants(narrowing).items():
            operands[port] = self._constant(array, operands[port].name)
        changed = axes.attributes(narrowing)
        attributes = {k: changed.get(k, v) for k, v in op.attributes.items() if k not in DECISIONS}
        new = create(op.name, operands, attributes, op.loc)
        new.result.type = self._typed(Place(op.result), new.result.type)
        return new

    def _typed(self, place: Place, inferred: TensorType) -> TensorType:
        """The inferred type with what no rule infers: the layout, and a quantization given otherwise."""
        quant = place.value.type.quant
        if quant is not None and quant.axis is not None:
            quant = _kept_scales(quant, quant.axis, self.cut.kept(place, quant.axis).tolist())
        return replace(inferred, layout=place.value.type.layout, quant=quant)


def _kept_scales(quant: Quant, axis: int, kept: Sequence[int]) -> Quant:
    return Quant(tuple(quant.scales[i] for i in kept), tuple(quant.zero_points[i] for i in kept), axis)
