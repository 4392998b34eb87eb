"""Selection: a primitive and layouts for every operator.

    %1 = nn.conv(%0, %w) {...} : tensor<1x64x56x56xf32>
 -> %1 = prim.conv(%0, %w) {..., primitive = "winograd4", operand_layouts = ["NCHW16c", "NCHW"],
                            workspace = 331776} : tensor<1x64x56x56xf32, NCHW16c>

The objective is the sum of the operators' times and of the layout conversions
on edges. Starting from each operator's cheapest choice, sweeps in both
directions replace one choice at a time while the sum falls (iterated
conditional modes, Besag 1986): a local optimum. An operator that already
carries a decision keeps it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from secateur.ir.choice import Choice, CostTable
from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.opdef import lookup
from secateur.ir.types import ROW_MAJOR, Layout

SWEEPS = 8


@dataclass
class _Plan:
    """The choice of each operator while it is being improved."""

    graph: Graph
    costs: CostTable
    options: dict[Operator, tuple[Choice, ...]] = field(default_factory=dict)
    chosen: dict[Operator, Choice] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for op in self.graph.operators:
            if op.name != "nn.constant":
                self.options[op] = self.costs.choices(op)
                self.chosen[op] = min(self.options[op], key=lambda c: c.seconds)

    def layout(self, value: Value) -> Layout:
        op = value.producer
        return self.chosen[op].result_layout if op in self.chosen else ROW_MAJOR

    def cost(self, op: Operator, choice: Choice) -> float:
        """Seconds that depend on this operator's choice, its neighbours' given."""
        total = choice.seconds
        for value, wanted in zip(op.operands, choice.operand_layouts, strict=True):
            if value.producer is None or value.producer in self.chosen:
                total += self.costs.conversion(value.type, self.layout(value), wanted)
        for result in op.results:
            for layout in self._wanted(result):
                total += self.costs.conversion(result.type, choice.result_layout, layout)
        return total

    def _wanted(self, result: Value) -> set[Layout]:
        """The layouts that users ask for; each is converted to once."""
        wanted = {ROW_MAJOR} if any(result is out for out in self.graph.outputs) else set()
        for user in result.users:
            pairs = zip(user.operands, self.chosen[user].operand_layouts, strict=True)
            wanted.update(layout for value, layout in pairs if value is result)
        return wanted

    def improve(self) -> None:
        for sweep in range(SWEEPS):
            changed = False
            order = list(self.options)
            for op in order if sweep % 2 == 0 else reversed(order):
                best = min(self.options[op], key=lambda c: self.cost(op, c))
                if self.cost(op, best) < self.cost(op, self.chosen[op]) * (1 - 1e-9):
                    self.chosen[op], changed = best, True
            if not changed and sweep:
                return


def _decide(op: Operator, choice: Choice) -> None:
    """Writes the choice into the operator, which becomes its `prim.` twin."""
    op.definition = lookup(op.name.replace("nn.", "prim.", 1))
    op.attributes["primitive"] = choice.primitive
    op.attributes["operand_layouts"] = tuple(layout.name for layout in choice.operand_layouts)
    if choice.workspace:
        op.attributes["workspace"] = choice.workspace
    for result in op.results:
        result.type = result.type.with_layout(choice.result_layout)


def select(graph: Graph, costs: CostTable) -> Graph:
    """A copy of `graph` with every operator's primitive and layouts chosen by `costs`."""
    graph = graph.clone()
    plan = _Plan(graph, costs)
    plan.improve()
    for op, choice in plan.chosen.items():
        _decide(op, choice)
    return graph
