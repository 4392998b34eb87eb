"""Concatenations: what two have in common is joined once, and what is too wide for one kernel in several.

Both serve the memory pass and selection as well: a DenseNet's joined tensor grows in place, layer by layer,
and each of its parts has one reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from secateur.ir.capacity import MOST_OPERANDS
from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.registry import create


def axis_of(op: Operator) -> int:
    """The axis along which a concatenation joins, counted from the front."""
    axis: int = op["axis"] % max(1, op.result.type.rank)
    return axis


# Joined once ---------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Prefix:
    """A sequence of operands that some concatenation begins with; `joined` is the result of one that ends."""

    joined: Value | None = None
    longer: dict[Value, _Prefix] = field(default_factory=dict)

    def add(self, op: Operator, operands: Sequence[Value]) -> None:
        node = self
        for value in operands:
            node = node.longer.setdefault(value, _Prefix())
        node.joined = op.result

    def longest(self, operands: Sequence[Value]) -> tuple[int, Value | None]:
        """How many of the operands, though not all, another concatenation joins, and its result."""
        node = self
        found: tuple[int, Value | None] = (0, None)
        for count, value in enumerate(operands[:-1], 1):
            if value not in node.longer:
                break
            node = node.longer[value]
            if node.joined is not None and count > 1:
                found = (count, node.joined)
        return found


class _Sharing:
    """One walk over a graph; concatenations seen, by axis, from their first operand on and from the last."""

    def __init__(self, graph: Graph) -> None:
        self.place = {op: i for i, op in enumerate(graph.operators)}
        self.last = {v: i for op, i in self.place.items() if op.name != "nn.concat" for v in op.operands}
        self.seen: dict[int, tuple[_Prefix, _Prefix]] = {}
        self.shared = 0

    def visit(self, op: Operator) -> None:
        first, last = self.seen.setdefault(axis_of(op), (_Prefix(), _Prefix()))
        operands = op.operands
        if self._allowed(op):
            self._replace(op, first.longest(operands), last.longest(operands[::-1]))
        first.add(op, operands)
        last.add(op, operands[::-1])

    def _replace(self, op: Operator, first: tuple[int, Value | None], last: tuple[int, Value | None]) -> None:
        operands = op.operands
        if first[1] is not None and first[0] >= last[0]:
            op.operands = [first[1], *operands[first[0] :]]
        elif last[1] is not None:
            op.operands = [*operands[: -last[0]], last[1]]
        self.shared += len(op.operands) < len(operands)

    def _allowed(self, op: Operator) -> bool:
        """Whether nothing but a concatenation reads a part later on, and none was dequantized."""
        here = self.place[op]
        return not any(self.last.get(v, 0) > here or _is_dequantized(v) for v in op.operands)


def _is_dequantized(value: Value) -> bool:
    return value.producer is not None and value.producer.name == "q.dequantize"


def share_joins(graph: Graph) -> int:
    """concat(a, b, c)   ->   concat(concat(a, b), c)

    where concat(a, b) along the same axis is computed before; at the end likewise. Not where a part is read
    otherwise later on, since the inner result would be kept beside it; nor where a part was dequantized,
    since the integers are joined then. Returns how many changed.
    """
    sharing = _Sharing(graph)
    for op in graph.operators:
        if op.name == "nn.concat":
            sharing.visit(op)
    return sharing.shared


# Joined in several ---------------------------------------------------------------------------------


def split_joins(graph: Graph) -> int:
    """concat(a, b, c, d, ...)   ->   concat(concat(a, b, ...), concat(c, d, ...), ...)

    where one kernel cannot hold all operands; as many levels as it takes. Returns how many were split.
    """
    wide = [op for op in graph.operators if op.name == "nn.concat" and len(op.operands) > MOST_OPERANDS]
    graph.replace_operators({op: [*_split(op), op] for op in wide})
    return len(wide)


def _split(op: Operator) -> list[Operator]:
    """Concatenations of at most `MOST_OPERANDS` each, of which the operator now joins the results."""
    made: list[Operator] = []
    while len(op.operands) > MOST_OPERANDS:
        groups = _groups(op.operands)
        known: dict[tuple[Value, ...], Value] = {group: group[0] for group in groups if len(group) == 1}
        for group in dict.fromkeys(g for g in groups if len(g) > 1):
            made.append(create("nn.concat", group, {"axis": op["axis"]}, op.loc))
            known[group] = made[-1].result
        op.operands = [known[group] for group in groups]
    return made


def _groups(operands: Sequence[Value]) -> list[tuple[Value, ...]]:
    """The operands in as few groups as possible, of one size but for the last."""
    size = -(-len(operands) // -(-len(operands) // MOST_OPERANDS))
    return [tuple(operands[i : i + size]) for i in range(0, len(operands), size)]
