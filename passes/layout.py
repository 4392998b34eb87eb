"""Layout: conversions where an operator's primitive wants its operand laid out otherwise.

    %2 = prim.pool(%1) {operand_layouts = ["NCHW16c"], ...}         (%1 row-major)
 -> %c = prim.relayout(%1) {primitive = "relayout"} : tensor<..., NCHW16c>
    %2 = prim.pool(%c) ...

A value is converted to a layout at most once; graph outputs are row-major.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.registry import create
from secateur.ir.types import ROW_MAJOR, Layout

from .framework.base import Pass


def _relayout(value: Value, layout: Layout) -> Operator:
    op = create(
        "prim.relayout", [value], {"primitive": "relayout", "operand_layouts": (value.type.layout.name,)}
    )
    op.result.type = value.type.with_layout(layout)
    return op


def _wanted(op: Operator) -> list[Layout]:
    """The layout of each operand; SecateurError where the operator does not say one that is possible."""
    names = op.get("operand_layouts", ())
    if len(names) != len(op.operands):
        raise SecateurError(f"{op.called}: {len(names)} operand layouts for {len(op.operands)} operands")
    try:
        return [v.type.with_layout(Layout(name)).layout for v, name in zip(op.operands, names, strict=True)]
    except ValueError as error:
        raise SecateurError(f"{op.called}: {error}") from None


class _Converter:
    """Inserts each conversion once, right before its first user."""

    def __init__(self) -> None:
        self.operators: list[Operator] = []
        self._converted: dict[tuple[Value, Layout], Value] = {}

    def __call__(self, value: Value, layout: Layout) -> Value:
        if value.type.layout == layout:
            return value
        if (value, layout) not in self._converted:
            op = _relayout(value, layout)
            self.operators.append(op)
            self._converted[value, layout] = op.result
        return self._converted[value, layout]


def insert_conversions(graph: Graph) -> Graph:
    """A copy of a selected graph in which every operand has the layout its operator's primitive wants."""
    graph = graph.clone()
    convert = _Converter()
    for op in graph.operators:
        if op.name != "nn.constant":
            op.operands = [
                v if v.is_constant else convert(v, layout)
                for v, layout in zip(op.operands, _wanted(op), strict=True)
            ]
        convert.operators.append(op)
    graph.operators = convert.operators
    graph.set_outputs([convert(v, ROW_MAJOR) for v in graph.outputs], graph.output_names)
    return graph


@dataclass(frozen=True)
class InsertConversions(Pass):
    """Converts operands to the layouts their users' primitives want."""

    name: ClassVar[str] = "layout"

    def run(self, graph: Graph) -> Graph:
        return insert_conversions(graph)
