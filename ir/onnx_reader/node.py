"""One ONNX node as the operator families see it, and the graph being built."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto

from ..elementwise import Step
from ..graph import Graph, Operator, Value, constant_of
from ..initializers import name_of_folded
from ..interpreter import evaluate
from ..registry import create
from ..types import TensorType, extents
from .tensors import MAX_GRAPH_BYTES, Array, decode, decode_sparse, initializers_of

FOLD_ELEMENTS = 4096
"""Operators on constants are computed while reading where neither operands nor result are larger."""

NEVER_FOLDED = {
    "conv",
    "conv_transpose",
    "max_pool",
    "average_pool",
    "resize",
    "quantize",
    "dequantize",
    "annotate",
}
"""Window operators, whose work is not bounded by their operands; quantization, which must stay to be seen."""


class NodeError(ValueError):
    """What is wrong with one node; the reader adds which."""


class UnsupportedError(NodeError):
    """An operator, or a use of one, outside the set; the reader lists them all in one error."""


Values = tuple[Value, ...]
"""A sequence of tensors, which exists only while reading."""

Input = Value | Values | None


class Inliner(Protocol):
    """What reads the nodes of a body in place."""

    def inline(self, body: Body, inputs: Sequence[Input], label: str) -> list[Any]: ...


@dataclass
class Body:
    """Nodes with names for what goes in and comes out: a graph, or a function's body.

    Initializers are decoded once however often the body is read.
    """

    nodes: Sequence[NodeProto]
    inputs: Sequence[str]
    outputs: Sequence[str]
    initializers: Mapping[str, TensorProto] = field(default_factory=dict)
    types: Mapping[str, ValueInfoProto] = field(default_factory=dict)  # declared, by name
    constants: dict[str, Value] = field(default_factory=dict)

    @staticmethod
    def of(graph: GraphProto) -> Body:
        """The body that a graph is. Values that it gives itself are no inputs of it."""
        initializers = initializers_of(graph)
        return Body(
            graph.node,
            [i.name for i in graph.input if i.name not in initializers],
            [o.name for o in graph.output],
            initializers,
            {info.name: info for info in (*graph.value_info, *graph.input, *graph.output)},
        )


@dataclass
class Builder:
    """The graph being built. Operators on small constants are computed at once."""

    graph: Graph
    folder: Path | None = None
    bytes: int = 0
    few_bits: set[Value] = field(default_factory=set)  # constants whose elements have fewer in the file

    def constant(self, array: Array, name: str = "") -> Value:
        """A new constant with this array."""
        op = create("nn.constant", [], {"value": np.ascontiguousarray(array).reshape(np.shape(array))})
        op.result.name = name
        self.graph.append(op)
        return op.result

    def emit(
        self, name: str, operands: Sequence[Value], attributes: Mapping[str, Any], loc: str
    ) -> list[Value]:
        """The results of a new operator; TypeRuleError where its rule refuses, NodeError past a limit."""
        op = create(name, operands, attributes, loc)
        for result in op.results:
            self.count(result.type)
        folded = self._folded(op)
        if folded is None:
            return self.graph.append(op).results
        arrays, name = evaluate(op, folded), name_of_folded(op)
        op.operands = []
        return [self.constant(a, name) for a in arrays]

    def count(self, type: TensorType) -> None:
        """Adds a value to the graph's size, before anything of it is allocated."""
        self.bytes += type.bytes
        if self.bytes > MAX_GRAPH_BYTES:
            raise NodeError(f"the model's tensors take more than {MAX_GRAPH_BYTES} bytes together")

    @staticmethod
    def _folded(op: Operator) -> list[Array] | None:
        """The operands' arrays, where the operator is to be computed while reading."""
        arrays = [a for v in op.operands if (a := constant_of(v)) is not None]
        sizes = [v.type.elements for v in [*op.operands, *op.results]]
        small = max(sizes) <= FOLD_ELEMENTS and op.name.split(".")[1] not in NEVER_FOLDED
        return arrays if small and len(arrays) == len(op.operands) else None


_MISSING: Any = object()

_GETTERS: dict[str, tuple[int, Callable[[AttributeProto], Any]]] = {
    "int": (AttributeProto.INT, lambda a: int(a.i)),
    "float": (AttributeProto.FLOAT, lambda a: float(a.f)),
    "string": (AttributeProto.STRING, lambda a: a.s.decode("utf-8", "replace")),
    "ints": (AttributeProto.INTS, lambda a: tuple(a.ints)),
    "floats": (AttributeProto.FLOATS, lambda a: tuple(float(f) for f in a.floats)),
    "strings": (AttributeProto.STRINGS, lambda a: tuple(s.decode("utf-8", "replace") for s in a.strings)),
    "tensor": (AttributeProto.TENSOR, lambda a: a.t),
    "sparse tensor": (AttributeProto.SPARSE_TENSOR, lambda a: a.sparse_tensor),
    "graph": (AttributeProto.GRAPH, lambda a: a.g),
}


@dataclass
class Node:
    """A node with its inputs resolved; attributes are read by kind, and a wrong kind is refused."""

    proto: NodeProto
    inputs: list[Input]
    opset: int
    loc: str
    builder: Builder
    scope: Inliner
    _attributes: dict[str, AttributeProto] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._attributes = {a.name: a for a in self.proto.attribute}

    @property
    def type(self) -> str:
        return str(self.proto.op_type)

    def has(self, name: str) -> bool:
        return name in self._attributes

    def _read(self, kind: str, name: str, default: Any) -> Any:
        if name not in self._attributes:
            if default is _MISSING:
                raise NodeError(f"attribute '{name}' is missing")
            return default
        number, getter = _GETTERS[kind]
        if self._attributes[name].type != number:
            raise NodeError(f"attribute '{name}' is not of kind {kind}")
        return getter(self._attributes[name])

    def integer(self, name: str, default: int = _MISSING) -> int:
        found: int = self._read("int", name, default)
        return found

    def flag(self, name: str, default: bool = False) -> bool:
        return bool(self._read("int", name, default))

    def number(self, name: str, default: float = _MISSING) -> float:
        found: float = self._read("float", name, default)
        return found

    def string(self, name: str, default: str = _MISSING) -> str:
        found: str = self._read("string", name, default)
        return found

    def ints(self, name: str, default: Sequence[int] = _MISSING) -> tuple[int, ...]:
        found = self._read("ints", name, default)
        return found if default is _MISSING else tuple(found)

    def floats(self, name: str, default: Sequence[float] = _MISSING) -> tuple[float, ...]:
        found = self._read("floats", name, default)
        return found if default is _MISSING else tuple(found)

    def strings(self, name: str, default: Sequence[str] = _MISSING) -> tuple[str, ...]:
        found = self._read("strings", name, default)
        return found if default is _MISSING else tuple(found)

    def tensor(self, name: str) -> Array:
        return decode(self._read("tensor", name, _MISSING), self.builder.folder)

    def sparse_tensor(self, name: str) -> Array:
        return decode_sparse(self._read("sparse tensor", name, _MISSING), self.builder.folder)

    def body(self, name: str) -> Body:
        """The graph in an attribute."""
        return Body.of(self._read("graph", name, _MISSING))

    def inline(self, body: Body, inputs: Sequence[Input], label: str = "") -> list[Any]:
        """What the body gives for `inputs`, its nodes read in place; `label` goes before their names."""
        if len(inputs) != len(body.inputs):
            raise NodeError(f"the graph inside has {len(body.inputs)} inputs, {len(inputs)} are given")
        return self.scope.inline(body, inputs, label)

    def choice(self, name: str, default: str, allowed: Sequence[str]) -> str:
        """A string attribute that must be one of `allowed`."""
        found = self.string(name, default)
        if found not in allowed:
            raise NodeError(f"attribute '{name}' is '{found}', known: {', '.join(allowed)}")
        return found

    def optional(self, index: int) -> Value | None:
        """Input `index`, or None where it is left out."""
        found = self.inputs[index] if index < len(self.inputs) else None
        if isinstance(found, tuple):
            raise NodeError(f"input {index} is a sequence, not a tensor")
        return found

    def sequence(self, index: int) -> Values:
        """Input `index`, which must be a sequence."""
        found = self.inputs[index] if index < len(self.inputs) else None
        if not isinstance(found, tuple):
            raise NodeError(f"input {index} is not a sequence")
        return found

    def input(self, index: int) -> Value:
        """Input `index`, which must be there."""
        found = self.optional(index)
        if found is None:
            raise NodeError(f"input {index} is missing")
        return found

    def all_inputs(self) -> list[Value]:
        """Every input, none left out, at least one."""
        return [self.input(i) for i in range(max(1, len(self.inputs)))]

    def known_inputs(self) -> list[Array | None] | None:
        """The arrays of all inputs, None for one left out; None where one is not known while reading."""
        found = [constant_of(v) if isinstance(v, Value) else None for v in self.inputs]
        missing = any(a is None and v is not None for a, v in zip(found, self.inputs, strict=True))
        return None if missing else found

    def known(self, index: int, what: str) -> Array:
        """Input `index`, which must be known while reading."""
        found = constant_of(self.input(index))
        if found is None:
            raise NodeError(
                f"{what} (input {index}) must be a constant or computed from constants and shapes"
            )
        return found

    def known_ints(self, index: int, what: str) -> tuple[int, ...]:
        """Integers of the one-dimensional (or scalar) constant input `index`."""
        found = self.known(index, what)
        if found.ndim > 1 or not np.issubdtype(found.dtype, np.integer):
            raise NodeError(
                f"{what} (input {index}) must be a list of integers, is {found.dtype} {extents(found.shape)}"
            )
        return tuple(int(i) for i in found.reshape(-1))

    def constant(self, array: Array) -> Value:
        return self.builder.constant(array)

    def with_axis(self, x: Value, axis: int) -> Value:
        """`x` with a new axis of extent 1 at `axis`."""
        return self.emit("reshape", [x], shape=(*x.type.shape[:axis], 1, *x.type.shape[axis:]))

    def emit(self, name: str, operands: Sequence[Value], **attributes: Any) -> Value:
        """The result of a new operator of one result."""
        (result,) = self.builder.emit(f"nn.{name}", operands, attributes, self.loc)
        return result

    def emit_q(self, name: str, operands: Sequence[Value], **attributes: Any) -> Value:
        """The same for an operator between real and quantized tensors."""
        (result,) = self.builder.emit(f"q.{name}", operands, attributes, self.loc)
        return result

    def biased(
        self, name: str, operands: Sequence[Value], bias: Value | None, attributes: Mapping[str, Any]
    ) -> Value:
        """A new operator whose epilogue adds `bias`, where there is one."""
        if bias is None:
            return self.emit(name, operands, **attributes)
        return self.emit(name, [*operands, bias], **attributes, epilogue=(Step("add"),))


Handler = Callable[[Node], "Value | Values | list[Any]"]
