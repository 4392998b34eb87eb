"""The model so far: tensors, nodes and their names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from ..errors import ModelError
from ..graph import Graph, Operator, Value
from ..types import DType, TensorType
from .constants import stored

Array = NDArray[Any]


def onnx_type(dtype: DType) -> int:
    """ONNX's number of an element type."""
    return int(helper.np_dtype_to_tensor_dtype(dtype.numpy))


def tensor_info(name: str, type: TensorType) -> onnx.ValueInfoProto:
    """Name, element type and shape of a tensor."""
    return helper.make_tensor_value_info(name, onnx_type(type.dtype), type.shape)


def _unique(wanted: str, taken: set[str]) -> str:
    """`wanted`, or with a number where it is taken; taken from now on."""
    name, count = wanted, 1
    while name in taken:
        count += 1
        name = f"{wanted}__{count}"
    taken.add(name)
    return name


def _tensor(array: Array, name: str) -> TensorProto:
    return numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)


@dataclass
class Writer:
    """The parts of the model so far; `names` gives each value its tensor, `table` each operator its form."""

    table: Mapping[str, Write]
    apart: Collection[str] = ()  # functions written as the operators that they are made of
    nodes: list[NodeProto] = field(default_factory=list)
    initializers: list[TensorProto] = field(default_factory=list)
    infos: list[onnx.ValueInfoProto] = field(default_factory=list)
    names: dict[Value, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    node_names: set[str] = field(default_factory=set)

    def fresh(self, wanted: str) -> str:
        return _unique(wanted, self.taken)

    def name(self, value: Value, wanted: str) -> str:
        if value not in self.names:
            self.names[value] = self.fresh(wanted)
        return self.names[value]

    def name_outputs(self, graph: Graph) -> None:
        """Outputs that operators compute get their names first, so that no other tensor has them."""
        self.taken.update(graph.output_names)
        for value, name in zip(graph.outputs, graph.output_names, strict=True):
            if value not in self.names:
                self.names[value] = name

    def outputs(self, graph: Graph) -> None:
        """An output that is an input, or returned twice, needs a node of its own."""
        for value, name in zip(graph.outputs, graph.output_names, strict=True):
            if self.names[value] != name:
                self.nodes.append(helper.make_node("Identity", [self.names[value]], [name]))

    def constant(self, array: Array, name: str = "constant") -> str:
        tensor = self.fresh(name)
        self.initializers.append(_tensor(array, tensor))
        return tensor

    def integers(self, values: Sequence[int]) -> str:
        return self.constant(np.array(values, np.int64))

    def node(
        self, type: str, inputs: Sequence[str], op: Operator, result: str = "", **attributes: Any
    ) -> str:
        """A node computing `result` (a fresh tensor where it is not given)."""
        result = result or self.fresh(f"{self.names[op.results[0]]}/{type}")
        self.nodes.append(
            helper.make_node(type, list(inputs), [result], name=self.node_name(op), **attributes)
        )
        return result

    def second(
        self, type: str, inputs: Sequence[str], op: Operator, result: str = "", **attributes: Any
    ) -> str:
        """A node whose second result is `result` (a fresh tensor where it is not given)."""
        names = [self.fresh(f"{self.names[op.results[0]]}/{type}") for _ in range(2)]
        names[1] = result or names[1]
        self.nodes.append(helper.make_node(type, list(inputs), names, name=self.node_name(op), **attributes))
        return names[1]

    def node_name(self, op: Operator) -> str:
        """The operator's ONNX name; with a number for the second node that stands for it."""
        return _unique(op.loc or op.name, self.node_names)

    def operator(self, op: Operator) -> None:
        if op.name == "nn.constant":
            array, wanted = stored(op.result, np.array(op["value"]))
            tensor = self.name(op.result, wanted)
            self.initializers.append(_tensor(array, tensor))
            return
        for value in op.results:
            self.name(value, value.name or "value")
        write = self.table.get(op.name)
        if write is None:
            raise ModelError(f"{op!r} has no ONNX form; write the graph before primitives are chosen")
        self.infos.append(tensor_info(self.names[op.result], op.result.type))
        write(self, op, [self.names[v] for v in op.operands], self.names[op.result])


Write = Callable[[Writer, Operator, list[str], str], None]
"""Writes an operator, given the tensors of its operands and result."""


def plain(type: str, **renamed: str) -> Write:
    """A node with the operator's attributes, under ONNX's names."""

    def write(w: Writer, op: Operator, operands: list[str], result: str) -> None:
        values = {ours: op[ours] for ours in renamed}
        attributes = {renamed[k]: int(v) if isinstance(v, bool) else v for k, v in values.items()}
        w.node(type, operands, op, result, **attributes)

    return write
