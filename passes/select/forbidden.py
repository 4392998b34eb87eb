"""Choices that the user forbids: a cost table without them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from secateur.ir.choice import Choice, CostTable
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Operator
from secateur.ir.support.words import listed
from secateur.ir.types import Layout, TensorType

Offered = Mapping[Operator, Sequence[str]]  # the primitives that each operator could have


@dataclass(frozen=True, eq=False)
class Allowed:
    """A cost table without the primitives that are forbidden for an operator."""

    costs: CostTable
    forbidden: Mapping[Operator, Collection[str]]

    def choices(self, op: Operator) -> tuple[Choice, ...]:
        without = self.forbidden.get(op, ())
        return tuple(choice for choice in self.costs.choices(op) if choice.primitive not in without)

    def conversion(self, type: TensorType, source: Layout, destination: Layout) -> float:
        return self.costs.conversion(type, source, destination)

    def weight_bytes(self, op: Operator, choice: Choice) -> int:
        return self.costs.weight_bytes(op, choice)


def allowed(graph: Graph, costs: CostTable, without: Iterable[str]) -> CostTable:
    """The costs without what is forbidden: `winograd6` for every operator, `winograd6@conv1` for a node's.

    A node may be called by any of the ONNX nodes that were fused into it; a string may hold several entries
    with commas between. SecateurError for a name that means nothing here, and where an operator has no
    primitive left.
    """
    offered = {op: _names(costs, op) for op in graph.operators if op.name != "nn.constant"}
    nodes = {name for op in offered for name in _spellings(op)}
    forbidden: dict[Operator, list[str]] = {}
    for entry in (part for line in without for part in _entries(line, nodes)):
        primitive, at, node = entry.partition("@")
        for op in _meant(primitive, node if at else None, offered):
            forbidden.setdefault(op, []).append(primitive)
    for op, names in forbidden.items():
        if not set(offered[op]) - set(names):
            left = f"no primitive is left; it could have {', '.join(offered[op])}"
            raise SecateurError(f"{op.called}: without {', '.join(names)} {left}")
    return Allowed(costs, forbidden) if forbidden else costs


def _names(costs: CostTable, op: Operator) -> list[str]:
    return list(dict.fromkeys(choice.primitive for choice in costs.choices(op)))


def _spellings(op: Operator) -> Iterator[str]:
    """What an operator may be called: `a+b` of two nodes, either of them, or `a (+1)`."""
    first, *others = op.loc.split("+")
    if first:
        yield from (op.loc, first, *others)
    if others:
        yield f"{first} (+{len(others)})"


def _entries(line: str, nodes: Collection[str]) -> list[str]:
    """A line's entries; the name of a node may itself hold commas."""
    if line.partition("@")[2] in nodes:
        return [line]
    return [part.strip() for part in line.split(",") if part.strip()]


def _meant(primitive: str, node: str | None, offered: Offered) -> list[Operator]:
    """The operators for which an entry forbids a primitive."""
    there = [op for op in offered if node is None or node in _spellings(op)]
    if not there:
        nodes = dict.fromkeys(name for op in offered for name in _spellings(op))
        raise SecateurError(f"cannot forbid {primitive}: there is no operator {listed([node or ''], nodes)}")
    meant = [op for op in there if primitive in offered[op]]
    if not meant:
        known = list(dict.fromkeys(name for op in there for name in offered[op]))
        where = "no operator" if node is None else f"the operator of {node} never"
        names = f"(known here: {', '.join(known)}): {listed([primitive], known)}"
        raise SecateurError(f"cannot forbid a primitive that {where} has {names}")
    return meant
