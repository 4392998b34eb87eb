"""Nodes read in order, in scopes: the model's graph, and the bodies that are read in place of a node.

A body (a branch of If, an iteration of Loop, a function's call) is read as if its nodes stood in the graph:
a scope of names inside another one. What cannot be read becomes `UNREAD`, and so does all that is computed
from it; only where that reaches an output of the model is it an error, so that a branch not taken and shape
arithmetic that comes to nothing may hold anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from onnx import AttributeProto, FunctionProto, NodeProto, TensorProto, ValueInfoProto

from ..errors import ModelError
from ..graph import Value
from ..support.shown import shown
from .checks import ONNX_DOMAINS, check_node, check_types
from .cuts import asked_by, ends_line, reason_of
from .functions import arguments, body_of, defined_by_onnx, opsets_of, resolved
from .known import compute, is_computable
from .node import Body, Builder, Handler, Inliner, Input, Node, NodeError, UnsupportedError
from .tensors import FEW_BITS, decode, decode_few_bits, dtype_of

MAX_NODES = 20_000
"""Nodes of loops unrolled and functions inlined: a small file may ask for any number."""

_FOR_ONE_PROCESSOR = "com.microsoft.nchwc::"
_SAVED_FOR_ONE = (
    "ONNX Runtime optimized this file for the processor that it ran on; give the model from before, or save "
    "it with ORT_ENABLE_EXTENDED"
)

MAX_DEPTH = 64
"""Bodies inside bodies; a function that calls itself has no end."""


class LocatedError(ModelError):
    """An error that says already at which node it is."""


class Unread:
    """Stands for what cannot be read."""


UNREAD = Unread()

Function = tuple[str, str, str]
"""Domain, name and overload of a function of the model."""


@dataclass
class Model:
    """What all scopes of one model share."""

    builder: Builder
    domains: Mapping[str, Mapping[str, Handler]]
    functions: Mapping[Function, FunctionProto] = field(default_factory=dict)
    unsupported: dict[str, list[str]] = field(default_factory=dict)  # nodes by operator and reason
    nodes: int = 0
    depth: int = 0

    def count_node(self) -> None:
        self.nodes += self.depth > 0
        if self.nodes > MAX_NODES:
            raise NodeError(f"more than {MAX_NODES} nodes of loops unrolled and functions inlined")

    @contextmanager
    def deeper(self) -> Iterator[None]:
        if self.depth >= MAX_DEPTH:
            raise NodeError(f"more than {MAX_DEPTH} graphs and functions inside each other")
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1

    def refuse(self, ends: Sequence[str]) -> ModelError:
        """One error with every node that cannot be read, and where to end the network instead."""
        lines = [f"  {what}: {_listed(names)}" for what, names in sorted(self.unsupported.items())]
        if any(what.startswith(_FOR_ONE_PROCESSOR) for what in self.unsupported):
            lines.append(_SAVED_FOR_ONE)
        elif ends:
            lines.append(ends_line(ends))
        return ModelError("operators that are not supported:\n" + "\n".join(lines))


def _listed(names: list[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


@dataclass
class Scope(Inliner):
    """A body being read; `values` holds what each name stands for so far."""

    model: Model
    body: Body
    opsets: Mapping[str, int]
    outer: Scope | None = None
    prefix: str = ""
    attributes: Mapping[str, AttributeProto] | None = None  # of the function's call
    values: dict[str, Any] = field(default_factory=dict)

    def read(self) -> list[Any]:
        """What the body's outputs come to."""
        self.read_nodes()
        return [self.use(name) for name in self.body.outputs]

    def read_nodes(self) -> None:
        for index, node in enumerate(self.body.nodes):
            self._node(node, self._loc(node, index))

    def ends(self) -> list[str]:
        """Names of values that are computed and read, which nodes need that are not."""
        needed, found = set(self.body.outputs), dict[str, None]()
        for node in reversed(self.body.nodes):
            if any(self.values.get(o) is UNREAD for o in needed.intersection(node.output)):
                asked = list(asked_by(node))
                needed.update(asked)
                found |= dict.fromkeys(reversed([name for name in asked if self._computes(name)]))
        return list(reversed(found))

    def _computes(self, name: str) -> bool:
        value = self.values.get(name)
        return isinstance(value, Value) and value.producer is not None and not value.is_constant

    def _loc(self, node: NodeProto, index: int) -> str:
        return self.prefix + shown(node.name or f"{node.op_type}#{index}")

    # Names -------------------------------------------------------------------------------------------

    def use(self, name: str) -> Any:
        """What `name` stands for: None where it is left out; ModelError where it is not defined yet."""
        scope: Scope | None = self
        while scope is not None and name:
            if (found := scope._own(name, None)) is not None:
                return found
            if name in scope.values:
                return None  # an argument left out
            scope = scope.outer
        if not name:
            return None
        raise NodeError(
            f"'{shown(name)}' is used before it is defined (nodes must stand in order, without cycles)"
        )

    def _own(self, name: str, default: Any) -> Any:
        """The value or initializer called `name` here."""
        if name in self.values:
            return self.values[name]
        if name not in self.body.initializers:
            return default
        if name not in self.body.constants:
            self.body.constants[name] = self._initializer(name)
        return self.body.constants[name]

    def _initializer(self, name: str) -> Value:
        """The constant of an initializer; elements of a few bits take a byte each, which is noted."""
        tensor, builder = self.body.initializers[name], self.model.builder
        if isinstance(tensor, TensorProto) and tensor.data_type in FEW_BITS:
            found = builder.constant(decode_few_bits(tensor, builder.folder), name)
            builder.few_bits.add(found)
            return found
        found = builder.constant(decode(tensor, builder.folder), name)
        _check_declared(self.body.types.get(name), found)
        return found

    def defines(self, name: str) -> bool:
        """Whether `name` is taken, here or further out."""
        here = name in self.values or name in self.body.initializers
        return here or (self.outer is not None and self.outer.defines(name))

    def _define(self, node: NodeProto, results: Sequence[Any]) -> None:
        if any(node.output[len(results) :]):
            raise NodeError(f"only {len(results)} outputs are supported, the node has {len(node.output)}")
        for name, value in zip(node.output, results, strict=False):
            if name:
                self._define_one(name, value)

    def _define_one(self, name: str, value: Any) -> None:
        if self.defines(name):
            raise NodeError(f"'{shown(name)}' is defined twice")
        self.values[name] = value
        if isinstance(value, Value):
            _check_declared(self.body.types.get(name), value)
            value.name = value.name or self.prefix + shown(name)

    # Nodes -------------------------------------------------------------------------------------------

    def _node(self, proto: NodeProto, loc: str) -> None:
        try:
            self.model.count_node()
            self._define(proto, self._read(proto, loc))
        except LocatedError:
            raise
        except ValueError as error:  # every refusal of a handler, a type rule or a tensor is one
            raise LocatedError(f"{shown(proto.op_type) or 'a'} node '{loc}': {error}") from None

    def _read(self, proto: NodeProto, loc: str) -> Sequence[Any]:
        """What the node's outputs stand for, which is nothing where it is outside the set."""
        try:
            return self._results(proto, loc)
        except UnsupportedError as error:
            self._note(proto, loc, str(error))
            return [UNREAD] * len(proto.output)

    def _note(self, proto: NodeProto, loc: str, reason: str) -> None:
        foreign = proto.domain not in ONNX_DOMAINS
        operator = shown(f"{proto.domain}::{proto.op_type}" if foreign else proto.op_type)
        self.model.unsupported.setdefault(operator + (f" ({reason})" if reason else ""), []).append(loc)

    def _results(self, proto: NodeProto, loc: str) -> Sequence[Any]:
        """What the node's outputs stand for."""
        if not proto.op_type:
            raise NodeError("has no op_type, so that nobody knows what it computes")
        inputs = [self.use(name) for name in proto.input]
        function = self.model.functions.get((proto.domain, proto.op_type, proto.overload))
        if function is None:
            check_node(proto, self._opset(proto.domain))
        if UNREAD in inputs:
            return self._unread(proto, function)
        proto = resolved(proto, self.attributes)
        if function is not None:
            return self._call(function, proto, inputs, loc)
        return self._operator(proto, inputs, loc)

    def _opset(self, domain: str) -> int:
        name = "" if domain in ONNX_DOMAINS else domain
        if name not in self.opsets:
            raise UnsupportedError("" if name else "no ONNX opset is declared")
        return self.opsets[name]

    def _unread(self, proto: NodeProto, function: FunctionProto | None) -> Sequence[Any]:
        """For a node that follows one which cannot be read; where it cannot either, that is told too."""
        known = proto.op_type in self.model.domains.get(proto.domain, {}) or is_computable(proto)
        if not known and function is None and defined_by_onnx(proto, self._opset(proto.domain), None) is None:
            raise UnsupportedError("")
        return [UNREAD] * len(proto.output)

    def _operator(self, proto: NodeProto, inputs: list[Input], loc: str) -> Sequence[Any]:
        """Computed where all is known and only then wanted, else by its handler or as ONNX defines it."""
        opset = self._opset(proto.domain)
        handler = self.model.domains.get(proto.domain, {}).get(proto.op_type)
        node = Node(proto, inputs, opset, loc, self.model.builder, self)
        if is_computable(proto) and (arrays := node.known_inputs()) is not None:
            check_types(proto, opset, inputs)
            return compute(node, arrays)
        if handler is not None:
            found = handler(node)
            check_types(proto, opset, inputs)
            return found if isinstance(found, list) else [found]
        function = defined_by_onnx(proto, opset, inputs)
        if function is None:
            raise UnsupportedError(reason_of(proto))
        check_types(proto, opset, inputs)
        return self._call(function, proto, inputs, loc)

    def _call(
        self, function: FunctionProto, proto: NodeProto, inputs: Sequence[Input], loc: str
    ) -> Sequence[Any]:
        """The function's body, read with the node's operands and attributes.

        An output that the node does not name is not asked for: a body may leave out what it is computed by.
        """
        body = body_of(function)
        asked = [bool(name) for name, _ in zip(proto.output, body.outputs, strict=False)]
        body.outputs = [name for name, ask in zip(body.outputs, asked, strict=False) if ask]
        if len(inputs) > len(body.inputs):
            raise NodeError(f"takes {len(body.inputs)} inputs, the node has {len(inputs)}")
        opsets = opsets_of(function) or self.opsets
        scope = Scope(self.model, body, opsets, None, f"{loc}/", arguments(function, proto))
        found = iter(_read(scope, [*inputs, *[None] * (len(body.inputs) - len(inputs))]))
        return [next(found) if ask else None for ask in asked]

    def inline(self, body: Body, inputs: Sequence[Input], label: str) -> list[Any]:
        prefix = f"{label}/" if label else self.prefix
        return _read(Scope(self.model, body, self.opsets, self, prefix, self.attributes), inputs)


def _read(scope: Scope, inputs: Sequence[Input]) -> list[Any]:
    if len(set(scope.body.inputs)) != len(scope.body.inputs):
        raise NodeError("two inputs of the graph inside have one name")
    for name, value in zip(scope.body.inputs, inputs, strict=True):
        scope.values[name] = value
        if isinstance(value, Value):
            _check_declared(scope.body.types.get(name), value)
    with scope.model.deeper():
        return scope.read()


def _check_declared(info: ValueInfoProto | None, value: Value) -> None:
    """NodeError where a value has another element type than the file says; its shapes are often stale."""
    declared = info.type.tensor_type.elem_type if info is not None else 0
    if declared and dtype_of(declared) != value.type.dtype:
        raise NodeError(
            f"'{shown(info.name if info else '')}' is {value.type.dtype.value}, the model declares it as "
            f"{dtype_of(declared).value}"
        )
