"""What each operator takes, as it was selected: estimated by the cost table, and measured on this machine."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from secateur.ir.choice import CostTable
    from secateur.ir.graph import Graph, Operator
    from secateur.passes.framework.base import Pass
    from secateur.runtime.session import OperatorTime

SELECT = "select"


@dataclass(frozen=True)
class Timed:
    """An operator as selected: its ONNX nodes, name without stage, primitive, and estimate in seconds."""

    loc: str
    operator: str
    primitive: str
    seconds: float

    @property
    def nodes(self) -> list[str]:
        """Names of the ONNX nodes that were fused into it."""
        return [node for node in self.loc.split("+") if node]


@dataclass
class Selection:
    """A pass observer that notes what `select` chose and what `costs` estimates for it, in order."""

    costs: CostTable
    timed: list[Timed] = field(default_factory=list)
    _graph: Graph | None = None

    def before(self, _index: int, step: Pass, graph: Graph) -> None:
        if step.name == SELECT:
            self._graph = graph  # selection works on a copy

    def after(self, _index: int, step: Pass, graph: Graph) -> None:
        if step.name == SELECT and self._graph is not None:
            pairs = zip(_computing(self._graph), _computing(graph), strict=True)
            self.timed = [self._timed(before, after) for before, after in pairs]
            self._graph = None

    def _timed(self, op: Operator, chosen: Operator) -> Timed:
        primitive, operands = chosen["primitive"], chosen["operand_layouts"]
        result, workspace = chosen.results[0].type.layout, chosen.get("workspace", 0)
        (seconds,) = {
            choice.seconds
            for choice in self.costs.choices(op)
            if choice.primitive == primitive
            and choice.result_layout == result
            and choice.workspace == workspace
            and tuple(layout.name for layout in choice.operand_layouts) == operands
        }
        return Timed(op.loc, op.name.partition(".")[2], primitive, seconds)


def _computing(graph: Graph) -> list[Operator]:
    return [op for op in graph.operators if op.name != "nn.constant"]


def float_selection(graph: Graph, target: str) -> list[Timed]:
    """The operators of `graph`'s float network on `target`, with their estimates."""
    from secateur.codegen.backends.registry import backend_of
    from secateur.codegen.targets.find import find
    from secateur.passes.framework.manager import PassManager
    from secateur.prepare import prepare

    row = find(target)
    selection = Selection(backend_of(row).costs(row))
    PassManager(prepare("canonicalize,fuse,select", row), (selection,)).run(graph)
    return selection.timed


# Which operator is which ---------------------------------------------------------------------------


def by_rows(rows: Sequence[Timed], others: Iterable[tuple[Sequence[str], float]]) -> list[float | None]:
    """Seconds of `others` (ONNX nodes, seconds), added up at the row that has their first known node.

    None where none belongs to a row.
    """
    owner: dict[str, int] = {}
    for index, row in enumerate(rows):
        for node in row.nodes:
            owner.setdefault(node, index)
    found: dict[int, float] = defaultdict(float)
    for nodes, seconds in others:
        index = next((owner[node] for node in nodes if node in owner), -1)
        found[index] += seconds
    return [found.get(index) for index in range(len(rows))]


def medians(samples: Sequence[Sequence[OperatorTime]]) -> list[tuple[str, str, float]]:
    """(label, operator without stage, median seconds) of each operator over some profiled runs."""
    return [
        (same[0].label, same[0].operator.partition(".")[2], sorted(t.ns for t in same)[len(same) // 2] / 1e9)
        for same in zip(*samples, strict=True)
    ]


def of_rows(rows: Sequence[Timed], measured: Iterable[tuple[str, str, float]]) -> list[float | None]:
    """The measured seconds of each row: those of the next operator of its kind from the same ONNX nodes."""
    waiting: Mapping[tuple[str, str], deque[float]] = defaultdict(deque)
    for label, operator, seconds in measured:
        waiting[label, operator].append(seconds)
    queues = (waiting[row.loc or f"prim.{row.operator}", row.operator] for row in rows)
    return [queue.popleft() if queue else None for queue in queues]
