"""The pass that carries out the decisions which stand in a graph."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from secateur.ir.channels import find_channels
from secateur.ir.graph import Graph
from secateur.ir.opdef import DECISIONS

from ..framework.base import Pass
from .branches import bypassed_in
from .decisions import decided
from .remove import remove


@dataclass(frozen=True)
class Remove(Pass):
    """Removes the channels that the attributes `pruned` list, with all that depends on them, and the operands
    of additions that are `bypassed`.

    Where none is listed, nothing changes. SecateurError where the attributes contradict each other, or
    nothing would be left of an axis.
    """

    name: ClassVar[str] = "remove"

    def tolerance_on(self, graph: Graph) -> float:
        """What goes may have mattered: without limit where anything goes."""
        return math.inf if any(DECISIONS.keys() & op.attributes for op in graph.operators) else 0.0

    def run(self, graph: Graph) -> Graph:
        channels = find_channels(graph)
        gone, bypassed = decided(graph, channels), bypassed_in(graph)
        return remove(graph, gone, channels, bypassed) if gone or bypassed else graph
