"""The text form of a graph.

    graph @main(%image: tensor<1x3x8x8xf32>) {
      %w = nn.constant() {value = dense_resource<w>} : tensor<4x3x3x3xf32>
      %0 = nn.conv(%image, %w) {strides = [1, 1], ...} : tensor<1x4x8x8xf32> loc("conv1")
      return %0 as "logits"
    }

Attributes equal to their declared default are left out. Constants of more than
`INLINE_ELEMENTS` elements are named resources, which `print_graph` returns
beside the text and `ir.files` keeps in a sibling file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .graph import Graph, Operator, Value
from .literals import written
from .opdef import COMMON_ATTRIBUTES, REQUIRED, Attribute
from .types import DType

INLINE_ELEMENTS = 16
BARE_NAME = re.compile(r"(?!\d+\Z)[A-Za-z0-9_./\-]+")
"""Names that print without quotes. A number alone is a value without a name."""

BARE_GRAPH_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_./]*")


def _format_elements(array: np.ndarray[Any, Any]) -> str:
    flat = array.reshape(-1)
    if array.dtype == np.bool_:
        return ", ".join("true" if v else "false" for v in flat)
    return ", ".join(str(v) for v in flat)


def format_array(array: np.ndarray[Any, Any]) -> str:
    """An inline constant: its type, then its elements in row-major order."""
    body = "x".join([*map(str, array.shape), DType.of(array.dtype).value])
    return f"dense<{body}: [{_format_elements(array)}]>"


def _is_default(attribute: Attribute, value: Any) -> bool:
    """Whether the parser would fill in just this value; -0.0 is not 0.0."""
    return attribute.default is not REQUIRED and repr(value) == repr(attribute.default)


@dataclass
class _Names:
    """Unique printable names of values."""

    taken: dict[str, int] = field(default_factory=dict)  # how often a name was wanted; "" counts the unnamed
    of: dict[Value, str] = field(default_factory=dict)

    def __getitem__(self, value: Value) -> str:
        if value not in self.of:
            self.of[value] = self._fresh(value.name)
        return self.of[value]

    def _fresh(self, wanted: str) -> str:
        count = self.taken.get(wanted, 0)
        self.taken[wanted] = count + 1
        if not wanted:
            return f"%{count}"
        name = f"{wanted}__{count}" if count else wanted
        if count and name in self.taken:
            return self._fresh(wanted)
        self.taken.setdefault(name, 1)
        return "%" + (name if BARE_NAME.fullmatch(name) else json.dumps(name))


@dataclass
class Printer:
    """Prints one graph; `resources` fills with the constants that were not printed inline."""

    inline_elements: int = INLINE_ELEMENTS
    resources: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    names: _Names = field(default_factory=_Names)

    def graph(self, graph: Graph) -> str:
        inputs = ", ".join(f"{self.names[v]}: {v.type}" for v in graph.inputs)
        name = graph.name if BARE_GRAPH_NAME.fullmatch(graph.name) else json.dumps(graph.name)
        lines = [f"graph @{name}({inputs}) {{"]
        lines += ["  " + self.operator(op) for op in graph.operators]
        returned = zip(graph.outputs, graph.output_names, strict=True)
        lines.append("  return " + ", ".join(f"{self.names[v]} as {json.dumps(n)}" for v, n in returned))
        return "\n".join([*lines, "}\n"])

    def operator(self, op: Operator) -> str:
        results = ", ".join(self.names[r] for r in op.results)
        operands = ", ".join(self.names[v] for v in op.operands)
        types = ", ".join(str(r.type) for r in op.results)
        loc = f" loc({json.dumps(op.loc)})" if op.loc else ""
        return f"{results} = {op.name}({operands}){self._attributes(op)} : {types}{loc}"

    def _attributes(self, op: Operator) -> str:
        shown = [f"{name} = {self._attribute(op, op.attributes[name])}" for name in self._order(op)]
        return f" {{{', '.join(shown)}}}" if shown else ""

    def _order(self, op: Operator) -> list[str]:
        declared = [
            a.name
            for a in op.definition.attributes
            if a.name in op.attributes and not _is_default(a, op.attributes[a.name])
        ]
        return declared + [name for name in COMMON_ATTRIBUTES if name in op.attributes]

    def _attribute(self, op: Operator, value: Any) -> str:
        if not isinstance(value, np.ndarray):
            return written(value)
        if value.size <= self.inline_elements:
            return format_array(value)
        key = self._resource_key(self.names[op.results[0]][1:])
        self.resources[key] = value
        return f"dense_resource<{json.dumps(key)}>"

    def _resource_key(self, name: str) -> str:
        """The value's name, made different from other keys and from what safetensors keeps for itself."""
        key = str(json.loads(name)) if name.startswith('"') else name
        while key in self.resources or key == "__metadata__":
            key += "_"
        return key


def print_graph(
    graph: Graph, inline_elements: int = INLINE_ELEMENTS
) -> tuple[str, Mapping[str, np.ndarray[Any, Any]]]:
    """The text of a graph, and the large constants it names."""
    printer = Printer(inline_elements)
    return printer.graph(graph), printer.resources
