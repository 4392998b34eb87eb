"""From a model file to a graph: nodes in order, each through its family's handler."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

from ..errors import ModelError, ModelNote
from ..graph import Graph, Value
from ..support.shown import shown
from ..types import TensorType
from . import (
    along,
    constants,
    control,
    deformed,
    einsum,
    elementwise,
    indexed,
    matrix,
    microsoft,
    movement,
    normalize,
    quantize,
    quantized,
    recurrent,
    reduce,
    resize,
    sequences,
    spectra,
    windows,
)
from .checks import ONNX_DOMAINS
from .functions import functions_of
from .inputs import declared, fits, input_types, show
from .known_inputs import known_inputs
from .node import Body, Builder, Handler
from .scope import UNREAD, Model, Scope
from .tensors import Array

HANDLERS: dict[str, Handler] = {
    **along.HANDLERS,
    **constants.HANDLERS,
    **deformed.HANDLERS,
    **einsum.HANDLERS,
    **elementwise.HANDLERS,
    **indexed.HANDLERS,
    **matrix.HANDLERS,
    **movement.HANDLERS,
    **normalize.HANDLERS,
    **quantize.HANDLERS,
    **quantized.HANDLERS,
    **recurrent.HANDLERS,
    **reduce.HANDLERS,
    **resize.HANDLERS,
    **spectra.HANDLERS,
    **windows.HANDLERS,
}

OPERATORS = frozenset(HANDLERS)
"""The ONNX operators that can be read."""

STRUCTURE: dict[str, Handler] = {**control.STRUCTURE, **sequences.STRUCTURE}
"""Operators that vanish while reading, where what they decide is known then."""

DOMAINS: dict[str, dict[str, Handler]] = {
    "": HANDLERS | STRUCTURE | microsoft.UNNAMED,
    "ai.onnx": HANDLERS | STRUCTURE | microsoft.UNNAMED,
    "com.microsoft": microsoft.MICROSOFT,
}

OLDEST_OPSET = 7
NEWEST_OPSET: int = onnx.defs.onnx_opset_version()
NEWEST_IR: int = onnx.IR_VERSION
MAX_FILE_BYTES = (1 << 31) - 1  # of a protocol buffer


def read_model(
    source: str | Path | bytes | ModelProto,
    shapes: Mapping[str, Sequence[int]] | None = None,
    constants: Mapping[str, Any] | None = None,
    batch: int | None = None,
) -> Graph:
    """The graph of an ONNX model: a path, its bytes, or the parsed message.

    `shapes` settles symbolic dimensions of inputs; `constants` gives inputs that
    are known beforehand and become constants of the graph: arrays of the input's type, numbers, or
    lists of them (see `known_inputs`). `batch` settles the first
    dimension of inputs where it is free; else it becomes 1, with a ModelNote. Every defect
    of the model, operators outside the set included, is one ModelError that names the node.
    """
    proto, folder = _parsed(source)
    opsets = _opsets(proto)
    _refuse_names(proto)
    model = Model(Builder(Graph(proto.graph.name or "main"), folder), DOMAINS, functions_of(proto.functions))
    scope = Scope(model, Body.of(proto.graph), opsets)
    _define_inputs(scope, proto.graph, Given(shapes or {}, constants or {}, batch))
    scope.read_nodes()
    return _finished(scope)


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


def _opsets(proto: ModelProto) -> dict[str, int]:
    """The version of each domain's operators; ModelError where ONNX's own is not known."""
    if proto.ir_version > NEWEST_IR:
        raise ModelError(f"the file's format is IR version {proto.ir_version}; known: up to {NEWEST_IR}")
    found: dict[str, int] = {}
    for entry in proto.opset_import:
        domain = "" if entry.domain in ONNX_DOMAINS else entry.domain
        if found.setdefault(domain, entry.version) != entry.version:
            raise ModelError(f"the model declares opsets {found[domain]} and {entry.version} of one domain")
    if "" not in found:
        raise ModelError("the model does not say which ONNX opset it uses")
    if not OLDEST_OPSET <= found[""] <= NEWEST_OPSET:
        raise ModelError(f"opset {found['']} is not supported; known: {OLDEST_OPSET} to {NEWEST_OPSET}")
    return found


def _names(proto: ModelProto) -> Iterator[str]:
    yield from _graph_names(proto.graph)
    for function in proto.functions:
        yield from (function.name, function.domain, function.overload)
        yield from (*function.input, *function.output, *function.attribute)
        yield from _node_names(function.node)


def _graph_names(graph: GraphProto) -> Iterator[str]:
    yield graph.name
    yield from _node_names(graph.node)
    for named in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        yield named.name
    yield from (tensor.values.name for tensor in graph.sparse_initializer)
    for info in graph.input:
        yield from (dim.dim_param for dim in info.type.tensor_type.shape.dim)


def _node_names(nodes: Iterable[NodeProto]) -> Iterator[str]:
    for node in nodes:
        yield from (node.name, node.op_type, node.domain, node.overload, *node.input, *node.output)
        for attribute in node.attribute:
            yield from (attribute.name, attribute.ref_attr_name)
            if attribute.HasField("g"):
                yield from _graph_names(attribute.g)


def _refuse_names(proto: ModelProto) -> None:
    """Protocol buffers hand out a name that is not UTF-8 as bytes."""
    for name in _names(proto):
        if not isinstance(name, str):
            raise ModelError(f"the name {name!r} is not UTF-8")


@dataclass(frozen=True)
class Given:
    """What the user says of inputs: shapes, values known beforehand, the batch."""

    shapes: Mapping[str, Sequence[int]]
    constants: Mapping[str, Any]
    batch: int | None


def _define_inputs(scope: Scope, graph: GraphProto, given: Given) -> None:
    """The model's inputs as values of the graph, or as the constants that they are known to be."""
    infos = [i for i in graph.input if i.name not in scope.body.initializers]
    names = [i.name for i in graph.input]
    if "" in names or len(set(names)) != len(names):
        raise ModelError("the model needs inputs with distinct names")
    known = known_inputs(infos, given.shapes, given.constants)
    shapes = {**given.shapes, **{name: array.shape for name, array in known.items()}}
    for name, type in input_types(infos, shapes, given.batch).items():
        scope.model.builder.count(type)
        scope.values[name] = _input(scope.model.builder, name, type, known.get(name))


def _input(builder: Builder, name: str, type: TensorType, known: Array | None) -> Value:
    return builder.graph.add_input(type, name) if known is None else builder.constant(known, name)


def _finished(scope: Scope) -> Graph:
    """The graph, once every node has been read."""
    names, graph = scope.body.outputs, scope.model.builder.graph
    if not names or len(set(names)) != len(names):
        raise ModelError("the model needs outputs with distinct names")
    missing = [n for n in names if not scope.defines(n)]
    if missing:
        raise ModelError(f"output '{shown(missing[0])}' is not computed by any node")
    values = [scope.use(name) for name in names]
    if UNREAD in values:
        raise scope.model.refuse(scope.ends())
    tensors = [_tensor(value, name) for value, name in zip(values, names, strict=True)]
    for name, value in zip(names, tensors, strict=True):
        _note_stale(scope.body.types[name], value)
    graph.set_outputs(tensors, names)
    graph.remove_dead()
    return graph


def _note_stale(info: ValueInfoProto, value: Value) -> None:
    """A ModelNote where an output has another shape than the file says, which other tools let pass too."""
    dims, shape = declared(info), value.type.shape
    if not fits(dims, shape):
        given = f"output '{shown(info.name)}' is {show(shape)}, the model declares {show(dims)}"
        warnings.warn(f"{given}; the shape is stale", ModelNote, stacklevel=2)


def _tensor(value: Any, name: str) -> Value:
    if not isinstance(value, Value):
        raise ModelError(f"output '{shown(name)}' is a sequence, not a tensor")
    return value
