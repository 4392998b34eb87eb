"""Which values share bytes, and from which operator to which they are needed.

Graph inputs and outputs live in the caller's buffers and constants in the
artifact; every other value lives in a buffer of the arena. A view shares its
operand's buffer, and so does the result of an operator that may compute in
place. The operands of a join (a concatenation of contiguous parts) are computed
where the joined tensor wants them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise

from secateur.ir.graph import Graph, Operator, Value

from .arena import ALIGNMENT, Buffer, Piece, align


def is_view(op: Operator) -> bool:
    """Whether the result's bytes are the operand's, so that in one place nothing need be done."""
    return bool(op.get("primitive") == "view")


def is_join(op: Operator) -> bool:
    """Whether the result's bytes are the operands', one after the other."""
    return bool(op.get("primitive") == "join")


def join_offsets(op: Operator) -> list[int]:
    """Where each operand of a join begins, in bytes from the start of the result."""
    sizes = [v.type.bytes for v in op.operands]
    return [sum(sizes[:i]) for i in range(len(sizes))]


def in_place_operands(op: Operator) -> list[int]:
    """Indices of the operands that the result may overwrite.

    The operator must read each element of such an operand just before it
    writes the same element, and nowhere else. The operator's declaration says which operands can be read so
    (`elementwise_from`: all of an element-wise operator, and what a convolution's epilogue takes), and the
    attribute `keeps` which of them the chosen primitive reads otherwise. The two types must be the same but
    for a quantization, and no other operand may be the same value unless it is read the same way.
    """
    able = op.definition.elementwise(len(op.operands))
    keeps = op.get("keeps", ())
    return [i for i in able if i not in keeps and _may_overwrite(op.operands[i], op.result)]


def _may_overwrite(operand: Value, result: Value) -> bool:
    """Whether the two have the same elements in memory, whatever these stand for."""
    return not operand.is_constant and replace(operand.type, quant=None) == replace(result.type, quant=None)


@dataclass
class _Group:
    """Values that share a buffer, and where each begins in it."""

    start: int
    end: int
    size: int
    inner: dict[Value, int] = field(default_factory=dict)


@dataclass(eq=False)
class Liveness:
    """Buffers of a graph's values, workspaces and regions for constants; `of` gives a value's buffer and its
    place inside."""

    buffers: list[Buffer]
    of: dict[Value, tuple[int, int]]
    workspaces: dict[Operator, int]
    regions: dict[Operator, int]


class _Analysis:
    """One walk over the operators, in order."""

    def __init__(self, graph: Graph, in_place: bool) -> None:
        self.in_place = in_place
        self.outside = {*graph.inputs, *graph.outputs, *(v for v in graph.values() if v.is_constant)}
        self.last = {v: i for i, op in enumerate(graph.operators) for v in op.operands}
        self.born: dict[Value, int] = {}
        self.groups: dict[Value, _Group] = {}

    def piece(self, value: Value, at: int) -> Piece:
        """The bytes of a value that begins `at` bytes into its buffer, while it is needed."""
        born = self.born[value]
        return Piece(born, max(born, self.last.get(value, born)), at, at + align(value.type.bytes))

    def visit(self, index: int, op: Operator) -> None:
        self.born.update(dict.fromkeys(op.results, index))
        if is_join(op) and op.result not in self.outside and self._join(index, op):
            return
        shared, at = self._shared(index, op) or (None, 0)
        for result in op.results:
            if result not in self.outside:
                self._add(result, index, shared, at)

    def _add(self, value: Value, index: int, shared: _Group | None, at: int) -> None:
        group = shared or _Group(index, index, 0)
        group.end = max(group.end, self.last.get(value, index))
        group.size = max(group.size, at + align(value.type.bytes))
        group.inner[value] = at
        self.groups[value] = group

    def _shared(self, index: int, op: Operator) -> tuple[_Group, int] | None:
        """The operand's group that the result joins and its place there, if any."""
        if len(op.results) != 1:
            return None
        if is_view(op):
            return self._place(op.operands[0])
        if not self.in_place:
            return None
        fitting = (i for i in in_place_operands(op) if self._dies(index, op, i))
        return next((self._place(op.operands[i]) for i in fitting), None)

    def _place(self, value: Value) -> tuple[_Group, int] | None:
        group = self.groups.get(value)
        return None if group is None else (group, group.inner[value])

    def _dies(self, index: int, op: Operator, operand: int) -> bool:
        """Whether nothing needs the operand's group after operator `index`, or reads it otherwise there."""
        group = self.groups.get(op.operands[operand])
        if group is None or group.end != index:
            return False
        return {i for i, v in enumerate(op.operands) if self.groups.get(v) is group} <= set(
            in_place_operands(op)
        )

    def _join(self, index: int, op: Operator) -> bool:
        """Merges the operands' groups such that they lie one after the other; False where that cannot be."""
        moves = self._moves(op)
        if moves is None:
            return False
        merged = _Group(index, max(index, self.last.get(op.result, index)), align(op.result.type.bytes))
        merged.inner[op.result] = 0
        for group, shift in moves:
            merged.start, merged.end = min(merged.start, group.start), max(merged.end, group.end)
            merged.size = max(merged.size, shift + group.size)
            merged.inner.update({value: at + shift for value, at in group.inner.items()})
        self.groups.update(dict.fromkeys(merged.inner, merged))
        return True

    def _moves(self, op: Operator) -> list[tuple[_Group, int]] | None:
        """How far each operand's group must move, or None where two wishes clash."""
        moves: dict[int, tuple[_Group, int]] = {}
        for value, start in zip(op.operands, join_offsets(op), strict=True):
            place = self._place(value)
            if place is None or start % ALIGNMENT:
                return None
            group, shift = place[0], start - place[1]
            if shift < 0 or moves.setdefault(id(group), (group, shift))[1] != shift:
                return None
        extents = sorted((shift, shift + group.size) for group, shift in moves.values())
        clash = any(low < high for (_, high), (low, _) in pairwise(extents))
        return None if clash else list(moves.values())


def analyse(graph: Graph, in_place: bool = True) -> Liveness:
    """The buffers that a graph whose primitives are chosen needs in the arena."""
    analysis = _Analysis(graph, in_place)
    for index, op in enumerate(graph.operators):
        analysis.visit(index, op)
    groups = list({id(g): g for g in analysis.groups.values()}.values())
    numbers = {id(g): i for i, g in enumerate(groups)}
    buffers = [Buffer(tuple(analysis.piece(v, at) for v, at in g.inner.items())) for g in groups]
    workspaces, regions = (_own(graph, name, buffers) for name in ("workspace", "streamed"))
    places = {v: (numbers[id(g)], g.inner[v]) for v, g in analysis.groups.items()}
    return Liveness(buffers, places, workspaces, regions)


def _own(graph: Graph, name: str, buffers: list[Buffer]) -> dict[Operator, int]:
    """A buffer more for each operator that has so many bytes of the arena to itself while it computes."""
    found: dict[Operator, int] = {}
    for index, op in enumerate(graph.operators):
        if op.get(name, 0):
            found[op] = len(buffers)
            buffers.append(Buffer.whole(index, index, align(op[name])))
    return found
