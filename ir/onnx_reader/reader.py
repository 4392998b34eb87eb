"""From a model file to a graph: nodes in order, each through its family's handler."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from ..errors import ModelError
from ..graph import Graph, Value
from ..types import TensorType
from . import (
    constants,
    elementwise,
    matrix,
    movement,
    normalize,
    quantize,
    quantized,
    recurrent,
    reduce,
    resize,
    windows,
)
from .inputs import input_types
from .node import Builder, Handler, Node
from .tensors import Array, decode

HANDLERS: dict[str, Handler] = {
    **constants.HANDLERS,
    **elementwise.HANDLERS,
    **matrix.HANDLERS,
    **movement.HANDLERS,
    **normalize.HANDLERS,
    **quantize.HANDLERS,
    **quantized.HANDLERS,
    **recurrent.HANDLERS,
    **reduce.HANDLERS,
    **resize.HANDLERS,
    **windows.HANDLERS,
}

OPERATORS = frozenset(HANDLERS)
"""The ONNX operators that can be read."""

DOMAINS: dict[str, dict[str, Handler]] = {
    "": HANDLERS,
    "ai.onnx": HANDLERS,
    "com.microsoft": quantized.MICROSOFT,
}

OLDEST_OPSET = 7
NEWEST_OPSET: int = onnx.defs.onnx_opset_version()
MAX_FILE_BYTES = (1 << 31) - 1  # of a protocol buffer
ONNX_DOMAINS = ("", "ai.onnx")


def read_model(
    source: str | Path | bytes | ModelProto,
    shapes: Mapping[str, Sequence[int]] | None = None,
    constants: Mapping[str, Array] | None = None,
    batch: int | None = None,
) -> Graph:
    """The graph of an ONNX model: a path, its bytes, or the parsed message.

    `shapes` settles symbolic dimensions of inputs; `constants` gives inputs that
    are known beforehand and become constants of the graph. `batch` settles the first
    dimension of inputs where it is free; else it becomes 1, with a ModelNote. Every defect
    of the model, operators outside the set included, is one ModelError that names the node.
    """
    proto, folder = _parsed(source)
    opset = _opset(proto)
    _refuse_names(proto.graph)
    _refuse_unsupported(proto.graph)
    return _Reader(proto.graph, opset, folder, dict(shapes or {}), dict(constants or {}), batch).read()


def _parsed(source: str | Path | bytes | ModelProto) -> tuple[ModelProto, Path | None]:
    if isinstance(source, ModelProto):
        return source, None
    data, folder, name = (source, None, "model") if isinstance(source, bytes) else _bytes_of(source)
    proto = ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError:
        raise ModelError(f"{name}: not an ONNX model (damaged or another format)") from None
    return proto, folder


def _bytes_of(source: str | Path) -> tuple[bytes, Path, str]:
    path = Path(source)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ModelError(f"{path}: larger than 2 GiB; such a model keeps its weights in external data")
        return path.read_bytes(), path.parent, str(path)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None


def _opset(proto: ModelProto) -> int:
    found = [o.version for o in proto.opset_import if o.domain in ONNX_DOMAINS]
    if not found:
        raise ModelError("the model does not say which ONNX opset it uses")
    if not OLDEST_OPSET <= max(found) <= NEWEST_OPSET:
        raise ModelError(f"opset {max(found)} is not supported; known: {OLDEST_OPSET} to {NEWEST_OPSET}")
    return int(max(found))


def _loc(node: NodeProto, index: int) -> str:
    return node.name or f"{node.op_type}#{index}"


def _names(graph: GraphProto) -> Iterator[str]:
    yield graph.name
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    for named in (*graph.input, *graph.output, *graph.initializer):
        yield named.name
    for info in graph.input:
        yield from (dim.dim_param for dim in info.type.tensor_type.shape.dim)


def _refuse_names(graph: GraphProto) -> None:
    """Protocol buffers hand out a name that is not UTF-8 as bytes."""
    for name in _names(graph):
        if not isinstance(name, str):
            raise ModelError(f"the name {name!r} is not UTF-8")


def _refuse_unsupported(graph: GraphProto) -> None:
    """One error with every node whose operator is outside the set."""
    unsupported: dict[str, list[str]] = {}
    for index, node in enumerate(graph.node):
        if node.op_type not in DOMAINS.get(node.domain, {}):
            foreign = node.domain not in ONNX_DOMAINS
            operator = f"{node.domain}::{node.op_type}" if foreign else node.op_type
            unsupported.setdefault(operator, []).append(_loc(node, index))
    if unsupported:
        lines = [f"  {operator}: {_listed(names)}" for operator, names in sorted(unsupported.items())]
        raise ModelError("operators that are not supported:\n" + "\n".join(lines))


def _listed(names: list[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


@dataclass
class _Reader:
    """One graph being read; `values` holds what each ONNX name stands for so far."""

    proto: GraphProto
    opset: int
    folder: Path | None
    shapes: Mapping[str, Sequence[int]]
    constants: Mapping[str, Array]
    batch: int | None = None
    values: dict[str, Value] = field(default_factory=dict)

    def read(self) -> Graph:
        self.builder = Builder(Graph(self.proto.name or "main"), self.folder)
        self.initializers: dict[str, TensorProto] = {t.name: t for t in self.proto.initializer}
        self._inputs()
        for index, node in enumerate(self.proto.node):
            self._node(node, _loc(node, index))
        self._outputs()
        self.builder.graph.remove_dead()
        return self.builder.graph

    def _inputs(self) -> None:
        infos = [i for i in self.proto.input if i.name not in self.initializers]
        given = {name: array.shape for name, array in self.constants.items()}
        for name, type in input_types(infos, {**self.shapes, **given}, self.batch).items():
            self.builder.count(type)
            self.values[name] = self._input(name, type)

    def _input(self, name: str, type: TensorType) -> Value:
        if name not in self.constants:
            return self.builder.graph.add_input(type, name)
        array = self.constants[name]
        if array.dtype != type.dtype.numpy:
            raise ModelError(f"input '{name}' is {type.dtype.value}, the constant given is {array.dtype}")
        return self.builder.constant(array, name)

    def _node(self, proto: NodeProto, loc: str) -> None:
        try:
            node = Node(proto, [self._used(name) for name in proto.input], self.opset, loc, self.builder)
            results = DOMAINS[proto.domain][proto.op_type](node)
            self._define(proto, results if isinstance(results, list) else [results])
        except ValueError as error:  # every refusal of a handler, a type rule or a tensor is one
            raise ModelError(f"{proto.op_type} node '{loc}': {error}") from None

    def _used(self, name: str) -> Value | None:
        if not name:
            return None
        if name not in self.values and name in self.initializers:
            array = decode(self.initializers[name], self.folder)
            self.values[name] = self.builder.constant(array, name)
        if name not in self.values:
            raise ModelError(
                f"'{name}' is used before it is defined (nodes must stand in order, without cycles)"
            )
        return self.values[name]

    def _define(self, proto: NodeProto, results: list[Value]) -> None:
        if len(proto.output) > len(results) and any(proto.output[len(results) :]):
            raise ModelError(f"only {len(results)} outputs are supported, the node has {len(proto.output)}")
        for name, value in zip(proto.output, results, strict=False):
            if name in self.values or name in self.initializers:
                raise ModelError(f"'{name}' is defined twice")
            if name:
                self.values[name] = value
                value.name = value.name or name

    def _outputs(self) -> None:
        names = [o.name for o in self.proto.output]
        if not names or len(set(names)) != len(names):
            raise ModelError("the model needs outputs with distinct names")
        missing = [n for n in names if n not in self.values and n not in self.initializers]
        if missing:
            raise ModelError(f"output '{missing[0]}' is not computed by any node")
        self.builder.graph.set_outputs([v for n in names if (v := self._used(n)) is not None], names)
