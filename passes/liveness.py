"""Which values share bytes, and from which operator to which they are needed.

Graph inputs and outputs live in the caller's buffers and constants in the
artifact; every other value lives in a buffer of the arena. A view shares its
operand's buffer, and so does the result of an operator that may compute in
place.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from secateur.ir.elementwise import FUNCTIONS
from secateur.ir.graph import Graph, Operator, Value

from .arena import Buffer, align

ELEMENTWISE = frozenset({"prim.map", *(f"prim.{name}" for name in FUNCTIONS)})


def is_constant(value: Value) -> bool:
    return value.producer is not None and value.producer.name == "nn.constant"


def is_view(op: Operator) -> bool:
    """Whether the result's bytes are the operand's, so that in one place nothing need be done."""
    return bool(op.get("primitive") == "view")


def in_place_operands(op: Operator) -> list[int]:
    """Indices of the operands that the result may overwrite.

    The operator must read each element of such an operand just before it
    writes the same element, and nowhere else. That holds for element-wise
    operators, and for what a convolution's epilogue takes, which its kernels
    read in the store itself. The two types must be the same, and no other
    operand may be the same value unless it is read the same way.
    """
    if op.name in ELEMENTWISE:
        candidates = range(len(op.operands))
    elif op.name == "prim.conv":
        candidates = range(2, len(op.operands))
    else:
        return []
    return [
        i for i in candidates if op.operands[i].type == op.result.type and not is_constant(op.operands[i])
    ]


@dataclass
class _Group:
    """Values that share a buffer."""

    start: int
    end: int
    size: int
    values: list[Value] = field(default_factory=list)


@dataclass(eq=False)
class Liveness:
    """Buffers of a graph's values and workspaces; `of` numbers the buffer of each value that has one."""

    buffers: list[Buffer]
    of: dict[Value, int]
    workspaces: dict[Operator, int]


class _Analysis:
    """One walk over the operators, in order."""

    def __init__(self, graph: Graph, in_place: bool) -> None:
        self.in_place = in_place
        self.outside = {*graph.inputs, *graph.outputs, *(v for v in graph.values() if is_constant(v))}
        self.last = {v: i for i, op in enumerate(graph.operators) for v in op.operands}
        self.groups: dict[Value, _Group] = {}

    def visit(self, index: int, op: Operator) -> None:
        shared = self._shared(index, op)
        for result in op.results:
            if result not in self.outside:
                self._add(result, index, shared)

    def _add(self, value: Value, index: int, shared: _Group | None) -> None:
        group = shared or _Group(index, index, 0)
        group.end = max(group.end, self.last.get(value, index))
        group.size = max(group.size, align(value.type.bytes))
        group.values.append(value)
        self.groups[value] = group

    def _shared(self, index: int, op: Operator) -> _Group | None:
        """The operand's group that the result joins, if any."""
        if len(op.results) != 1:
            return None
        if is_view(op):
            return self.groups.get(op.operands[0])
        if not self.in_place:
            return None
        fitting = (self._dying(index, op, i) for i in in_place_operands(op))
        return next((group for group in fitting if group is not None), None)

    def _dying(self, index: int, op: Operator, operand: int) -> _Group | None:
        """The group of an operand that nothing needs after operator `index`, or reads otherwise there."""
        group = self.groups.get(op.operands[operand])
        if group is None or group.end != index:
            return None
        allowed = set(in_place_operands(op))
        readers = {i for i, v in enumerate(op.operands) if self.groups.get(v) is group}
        return group if readers <= allowed else None


def analyse(graph: Graph, in_place: bool = True) -> Liveness:
    """The buffers that a graph whose primitives are chosen needs in the arena."""
    analysis = _Analysis(graph, in_place)
    for index, op in enumerate(graph.operators):
        analysis.visit(index, op)
    groups = list({id(g): g for g in analysis.groups.values()}.values())
    numbers = {id(g): i for i, g in enumerate(groups)}
    buffers = [Buffer(g.start, g.end, g.size) for g in groups]
    workspaces: dict[Operator, int] = {}
    for index, op in enumerate(graph.operators):
        if op.get("workspace", 0):
            workspaces[op] = len(buffers)
            buffers.append(Buffer(index, index, align(op["workspace"])))
    return Liveness(buffers, {v: numbers[id(g)] for v, g in analysis.groups.items()}, workspaces)
