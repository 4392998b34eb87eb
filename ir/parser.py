"""Reads the text form of a graph (see `ir.printer`).

A recursive-descent parser over one token stream. Attribute values are read by
the kind that the operator's declaration gives them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from .elementwise import Step
from .graph import Graph, Operator, Value
from .opdef import COMMON_ATTRIBUTES, OpDef, TypeRuleError
from .registry import lookup
from .support.words import meant
from .tokens import ParseError, Token, Tokens
from .types import ROW_MAJOR, DType, Layout, Quant, TensorType

__all__ = ["ParseError", "Parser", "absent_resources", "parse_graph"]

T = TypeVar("T")

_SHAPED = re.compile(r"(?P<dims>(?:\d{1,12}x)*)(?P<dtype>[a-z]+\d*)")


@dataclass
class Parser(Tokens):
    """One text being read."""

    resources: Mapping[str, np.ndarray[Any, Any]]
    resource_file: Path | None = None
    values: dict[str, Value] = field(default_factory=dict)

    # types

    def shaped(self) -> tuple[tuple[int, ...], DType]:
        """`1x3xf32` (no token of the stream has this shape, so it is matched in the text)."""
        self.peek()
        found = _SHAPED.match(self.text, self.position)
        names = {d.value: d for d in DType}
        if found is None or found["dtype"] not in names:
            raise self.fail("expected a shape and element type such as 1x3xf32")
        self.position = found.end()
        return tuple(int(d) for d in found["dims"].split("x") if d), names[found["dtype"]]

    def type(self) -> TensorType:
        start = self.take("tensor<").at
        shape, dtype = self.shaped()
        layout, quant = ROW_MAJOR, None
        try:
            while self.accept(","):
                if self.peek().text == "quant":
                    quant = self.quant()
                else:
                    layout = Layout(self.take(kind="word").text)
            self.take(">")
            return TensorType(shape, dtype, layout, quant)
        except ParseError:
            raise
        except ValueError as error:
            raise self.fail(str(error), start) from None

    def quant(self) -> Quant:
        self.take("quant")
        self.take("<")
        axis = None
        if self.accept("axis"):
            self.take("=")
            axis = self.integer()
            self.take(",")
            self.take("[")
            pairs = self.sequence("]", self.scale)
            self.take(">")
        else:
            pairs = self.sequence(">", self.scale)
        return Quant(tuple(s for s, _ in pairs), tuple(z for _, z in pairs), axis)

    def scale(self) -> tuple[float, int]:
        scale = self.number()
        self.take(":")
        return scale, self.integer()

    # attributes

    def attribute(self, kind: str) -> Any:
        return self._readers[kind](self)

    def boolean(self) -> bool:
        token = self.take(kind="word")
        if token.text not in ("true", "false"):
            raise self.fail(f"expected true or false, found {token.text}", token.at)
        return token.text == "true"

    def dtype(self) -> DType:
        shape, dtype = self.shaped()
        if shape:
            raise self.fail("expected an element type without a shape")
        return dtype

    def step(self) -> Step:
        token = self.take(kind="word")
        params = self.sequence(")", self.number) if self.accept("(") else []
        try:
            return Step(token.text, tuple(params))
        except ValueError as error:
            raise self.fail(str(error), token.at) from None

    def items(self, item: Callable[[], T]) -> tuple[T, ...]:
        self.take("[")
        return tuple(self.sequence("]", item))

    def array(self) -> np.ndarray[Any, Any]:
        token = self.take(kind="word")
        self.take("<")
        if token.text == "dense_resource":
            return self.resource()
        if token.text != "dense":
            raise self.fail(f"expected dense or dense_resource, found {token.text}", token.at)
        shape, dtype = self.shaped()
        self.take(":")
        items = self.items(
            self.boolean if dtype == DType.BOOL else self.number if dtype.is_float else self.big_integer
        )
        self.take(">")
        try:
            return np.array(items, dtype.numpy).reshape(shape)
        except (ValueError, OverflowError) as error:
            raise self.fail(f"elements do not fit the constant's type: {error}", token.at) from None

    def big_integer(self) -> int:
        token = self.take(kind="number")
        if not re.fullmatch(r"-?\d{1,20}", token.text):
            raise self.fail(f"expected an integer, found {token.text}", token.at)
        return int(token.text)

    def resource(self) -> np.ndarray[Any, Any]:
        at = self.peek().at
        name = self.string()
        self.take(">")
        if name not in self.resources:
            raise self.fail(self.absence(name), at)
        return self.resources[name]

    def absence(self, name: str) -> str:
        """What is missing where a large constant is: it lies in a file beside the text."""
        if self.resource_file is None:
            return f"no resource named '{name}'; a text alone does not hold the large constants"
        if not self.resource_file.exists():
            return f"no resource named '{name}': there is no file {self.resource_file}"
        return f"no resource named '{name}' in {self.resource_file}{meant(name, self.resources)}"

    _readers: Any = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        self._readers = {
            "int": Parser.integer,
            "float": Parser.number,
            "bool": Parser.boolean,
            "str": Parser.string,
            "ints": lambda p: p.items(p.integer),
            "floats": lambda p: p.items(p.number),
            "strs": lambda p: p.items(p.string),
            "array": Parser.array,
            "dtype": Parser.dtype,
            "epilogue": lambda p: p.items(p.step),
        }

    # structure

    def graph(self) -> Graph:
        self.take("graph")
        graph = Graph(self.graph_name())
        self.take("(")
        self.sequence(")", lambda: self.input(graph))
        self.take("{")
        while not self.accept("return"):
            graph.append(self.operator())
        returned = [self.returned()]
        while self.accept(","):
            returned.append(self.returned())
        graph.set_outputs([v for v, _ in returned], [n for _, n in returned])
        self.take("}")
        self.take(kind="end")
        return graph

    def graph_name(self) -> str:
        return self.unquoted(self.take(kind="graph"))

    def define(self, token: Token, value: Value) -> None:
        if token.text in self.values:
            raise self.fail(f"{token.text} is defined twice", token.at)
        value.name = "" if token.text[1:].isdigit() else self.unquoted(token)
        self.values[token.text] = value

    def unquoted(self, token: Token) -> str:
        """The name that stands behind the token's sigil, bare or as a string."""
        return self.decoded(token.text[1:], token.at) if token.text[1] == '"' else token.text[1:]

    def input(self, graph: Graph) -> None:
        token = self.take(kind="name")
        self.take(":")
        self.define(token, graph.add_input(self.type(), ""))

    def use(self) -> Value:
        token = self.take(kind="name")
        if token.text not in self.values:
            raise self.fail(f"{token.text} is not defined above", token.at)
        return self.values[token.text]

    def returned(self) -> tuple[Value, str]:
        value = self.use()
        self.take("as")
        return value, self.string()

    def operator(self) -> Operator:
        names = [self.take(kind="name")]
        while self.accept(","):
            names.append(self.take(kind="name"))
        self.take("=")
        token = self.take(kind="word")
        self.take("(")
        operands = self.sequence(")", self.use)
        try:
            definition = lookup(token.text)
            op = self.typed(definition, operands)
        except TypeRuleError as error:
            raise self.fail(str(error), token.at) from None
        if len(op.results) != len(names):
            raise self.fail(f"{token.text} has {len(op.results)} results, not {len(names)}", names[0].at)
        for name, result in zip(names, op.results, strict=True):
            self.define(name, result)
        return op

    def typed(self, definition: OpDef, operands: list[Value]) -> Operator:
        attributes = self.attributes(definition)
        self.take(":")
        types = [self.type()]
        while self.accept(","):
            types.append(self.type())
        loc = self.loc()
        inferred = definition.result_types([v.type for v in operands], attributes)
        if len(types) != len(inferred) or not all(map(TensorType.fits, types, inferred)):
            raise TypeRuleError(
                f"{definition.name} gives {', '.join(map(str, inferred))}, the text says otherwise"
            )
        return Operator(definition, operands, attributes, types, loc)

    def loc(self) -> str:
        if not self.accept("loc"):
            return ""
        self.take("(")
        text = self.string()
        self.take(")")
        return text

    def attributes(self, definition: OpDef) -> dict[str, Any]:
        return dict(self.sequence("}", lambda: self.named(definition))) if self.accept("{") else {}

    def named(self, definition: OpDef) -> tuple[str, Any]:
        token = self.take(kind="word")
        declared = definition.attribute(token.text)
        kind = declared.kind if declared else COMMON_ATTRIBUTES.get(token.text)
        if kind is None:
            raise self.fail(f"{definition.name} has no attribute '{token.text}'", token.at)
        self.take("=")
        return token.text, self.attribute(kind)


def parse_graph(
    text: str,
    resources: Mapping[str, np.ndarray[Any, Any]] | None = None,
    resource_file: Path | None = None,
) -> Graph:
    """The graph that `text` describes; ParseError with line and column where it does not.

    `resource_file` is where the resources were looked for, for the message where one is missing.
    """
    return Parser(text, resources or {}, resource_file).graph()


_NAMED_CONSTANT = re.compile(r'dense_resource<("(?:[^"\\\n]|\\.)*")>[^\n]* : tensor<([^,>]*)')


def absent_resources(text: str) -> dict[str, np.ndarray[Any, Any]]:
    """Zeros (that take no memory) for the large constants of a text whose resource file is not at hand."""
    names = {d.value: d for d in DType}
    found: dict[str, np.ndarray[Any, Any]] = {}
    for name, shaped in _NAMED_CONSTANT.findall(text):
        *dims, dtype = shaped.split("x")
        found[json.loads(name)] = np.broadcast_to(np.zeros((), names[dtype].numpy), [int(d) for d in dims])
    return found
