"""What a network costs once it is compiled: the rest of the road is taken by a copy, and its plan counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from secateur.ir.choice import CostTable
from secateur.ir.graph import Graph

from ..fuse.fuse import Fuse
from ..select.graphs import problem_of
from ..select.reaching import reach_where_possible
from ..select.solver import Solver
from .report import Figures, LayerRow, LayerState


@dataclass(frozen=True)
class Compiled:
    """A network's figures, and what computes each of its operators: by ONNX nodes, in order."""

    figures: Figures
    layers: dict[str, LayerState]


def compiled(graph: Graph, costs: CostTable) -> Compiled:
    """What the canonical float `graph` costs fused, with the plan that selection takes."""
    fused = reach_where_possible(Fuse().run(graph.clone()), costs)
    problem = problem_of(fused, costs)
    solution = Solver(problem.problem).fastest()
    layers = {
        op.loc or op.result.name: LayerState(op.result.type.shape, choice.primitive, choice.seconds)
        for op, choice in problem.decisions(solution.plan)
    }
    macs = sum(op.macs for op in problem.operators)
    return Compiled(Figures(macs, weight_bytes(fused), solution.costs.peak, solution.costs.seconds), layers)


def least_arena(graph: Graph, costs: CostTable) -> int:
    """Bytes of arena that the canonical float `graph` needs fused, by the plan of least memory."""
    fused = reach_where_possible(Fuse().run(graph.clone()), costs)
    return Solver(problem_of(fused, costs).problem).smallest().costs.peak


def weight_bytes(graph: Graph) -> int:
    """Bytes of all constants, as the graph has them."""
    return sum(op.result.type.bytes for op in graph.operators if op.name == "nn.constant")


def layer_rows(before: Compiled, after: Compiled) -> Iterator[LayerRow]:
    """The operators of both networks by name; those that only one of them has stand in its order."""
    for name in dict.fromkeys((*before.layers, *after.layers)):
        yield LayerRow(name, before.layers.get(name), after.layers.get(name))
