"""Memory: a place in one arena for every value, known before the model runs.

    %1 = prim.conv(%x, %w) {primitive = "direct", workspace = 4096}
 -> %1 = prim.conv(%x, %w) {primitive = "direct", workspace = 4096, workspace_offset = 8192, offset = [0]}

Graph inputs are read and graph outputs written in the caller's buffers; an
output's offset is -1. A view (primitive `view`) in its operand's place costs
nothing; with another offset than its operand, or at a caller's buffer, it is a
copy. Where an output would have no producer of its own to write it (an input, a
constant, a value returned twice), such a copy is inserted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.registry import create

from ..framework.base import Pass
from ..options import MemoryOptions
from .arena import Buffer, Piece, align, lower_bound
from .liveness import Liveness, analyse
from .offsets import assign_offsets
from .placement import OUTSIDE, check_placement, place_of, region_of, workspace_of

# Outputs that nobody writes ------------------------------------------------------------------------


def _copy(value: Value) -> Operator:
    attributes = {
        "shape": value.type.shape,
        "primitive": "view",
        "operand_layouts": (value.type.layout.name,),
    }
    return create("prim.reshape", [value], attributes)


def _copy_outputs(graph: Graph) -> None:
    """Gives each graph output a value of its own, written by an operator."""
    seen: set[Value] = set(graph.inputs)
    outputs: list[Value] = []
    for value in graph.outputs:
        if value in seen or value.is_constant:
            value = graph.append(_copy(value)).result
        seen.add(value)
        outputs.append(value)
    graph.set_outputs(outputs, graph.output_names)


# The pass ------------------------------------------------------------------------------------------


def _offset(liveness: Liveness, offsets: list[int], value: Value) -> int:
    if value not in liveness.of:
        return OUTSIDE
    buffer, inner = liveness.of[value]
    return offsets[buffer] + inner


def _write(graph: Graph, liveness: Liveness, offsets: list[int]) -> None:
    for op in graph.operators:
        if op.name == "nn.constant":
            continue
        op.attributes["offset"] = tuple(_offset(liveness, offsets, r) for r in op.results)
        if op in liveness.workspaces:
            op.attributes["workspace_offset"] = offsets[liveness.workspaces[op]]
        if op in liveness.regions:
            op.attributes["streamed_offset"] = offsets[liveness.regions[op]]


@dataclass(frozen=True, kw_only=True)
class Memory(MemoryOptions, Pass):
    """Places values and workspaces in one arena, computing in place where that is safe."""

    name: ClassVar[str] = "memory"

    def run(self, graph: Graph) -> Graph:
        _copy_outputs(graph)
        liveness = analyse(graph, self.in_place)
        _write(graph, liveness, assign_offsets(liveness.buffers))
        check_placement(graph)
        return graph


# The report ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LiveRange:
    """`size` bytes at `offset`, needed from operator number `start` to number `end`, both included."""

    name: str
    operator: str
    start: int
    end: int
    offset: int
    size: int


@dataclass(frozen=True)
class Report:
    """Arena bytes, the bytes alive at the fullest moment (no plan can do with fewer), and who lives where."""

    peak: int
    lower_bound: int
    ranges: tuple[LiveRange, ...]


def _values(graph: Graph) -> Iterator[LiveRange]:
    last = {v: i for i, op in enumerate(graph.operators) for v in op.operands}
    for index, op in enumerate(graph.operators):
        for result in op.results:
            place = place_of(result)
            if place is not None:
                size = align(place.high - place.low)
                yield LiveRange(
                    result.name, op.loc or op.name, index, last.get(result, index), place.low, size
                )


def _workspaces(graph: Graph) -> Iterator[LiveRange]:
    for index, op in enumerate(graph.operators):
        for name, place in (("workspace", workspace_of(op)), ("weights", region_of(op))):
            if place is not None:
                size = align(place.high - place.low)
                yield LiveRange(name, op.loc or op.name, index, index, place.low, size)


def arena_report(graph: Graph) -> Report:
    """How a placed graph uses its arena; SecateurError where it has not been placed.

    The bound is the largest number of bytes that hold something needed at one
    operator; bytes that values share (views, joins, results computed in place)
    count once.
    """
    if any(op.name != "nn.constant" and "offset" not in op.attributes for op in graph.operators):
        raise SecateurError("the graph has no places yet; run the pass 'memory' first")
    ranges = (*_values(graph), *_workspaces(graph))
    peak = max((r.offset + r.size for r in ranges), default=0)
    arena = Buffer(tuple(Piece(r.start, r.end, r.offset, r.offset + r.size) for r in ranges))
    return Report(peak, lower_bound([arena]) if ranges else 0, ranges)
