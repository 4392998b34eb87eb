"""Store: how the artifact holds constants.

    %w = nn.constant() {value = ...}
 -> %w = nn.constant() {value = ..., stored = "best"}

What a primitive makes of a constant (packed, transformed) is stored by the codec that the constant names, and
decoded when a state of the model is made. The names are those of the backend, which refuses another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from secateur.ir.graph import Graph

from .framework.base import Pass
from .options import StoreOptions


@dataclass(frozen=True, kw_only=True)
class Store(StoreOptions, Pass):
    """Names the codec by which the artifact holds the constants."""

    name: ClassVar[str] = "store"

    def run(self, graph: Graph) -> Graph:
        graph = graph.clone()
        for op in graph.operators:
            if op.name == "nn.constant":
                op.attributes["stored"] = self.codec
        return graph
