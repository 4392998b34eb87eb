"""Graphs side by side in one artifact: a link for each would take longer than all their kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from secateur.ir.graph import Graph
from secateur.tools.checks.onnx_backend import Arrays, CompileGraph


class Postponed(Exception):  # noqa: N818  (an answer, not an error)
    """Raised where a collected graph is run: the answer comes with all others'."""


def joined(graphs: Sequence[Graph]) -> Graph:
    """One graph of them all, which takes them apart: the names of number `i` begin with `i/`."""
    whole = Graph("together")
    for i, graph in enumerate(graphs):
        for value in graph.inputs:
            value.name = f"{i}/{value.name}"
        whole.inputs += graph.inputs
        whole.operators += graph.operators
    names = [f"{i}/{name}" for i, graph in enumerate(graphs) for name in graph.output_names]
    whole.set_outputs([value for graph in graphs for value in graph.outputs], names)
    return whole


@dataclass
class Together:
    """Graphs with their inputs, in the order in which they were to run."""

    graphs: list[Graph] = field(default_factory=list)
    inputs: list[Arrays] = field(default_factory=list)

    def collect(self, graph: Graph) -> Callable[[Arrays], Arrays]:
        """Stands for a compiler."""

        def note(inputs: Arrays) -> Arrays:
            self.graphs.append(graph)
            self.inputs.append(inputs)
            raise Postponed

        return note

    def answers(self, compile_graph: CompileGraph) -> list[Arrays]:
        """Of each graph; the graphs are used up."""
        found = compile_graph(joined(self.graphs))(
            {f"{i}/{name}": array for i, given in enumerate(self.inputs) for name, array in given.items()}
        )
        return [
            {name: found[f"{i}/{name}"] for name in graph.output_names} for i, graph in enumerate(self.graphs)
        ]
