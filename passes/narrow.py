"""Narrow: a network in 64-bit floats computes in float32, between casts at its ends.

As `widen` does for binary16. Who asks for 8 or 16 bits has no use for the last 29 of a double's; finite
constants beyond float32 become its largest.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from secateur.ir.graph import Graph
from secateur.ir.types import DType

from .framework.base import Pass
from .widen import to_float32

CONVOLUTIONS = ("nn.conv", "nn.conv_transpose")
LAYERS = (*CONVOLUTIONS, "nn.matmul")


@dataclass(frozen=True)
class Narrow(Pass):
    """Makes what computes in 64-bit floats compute in float32."""

    name: ClassVar[str] = "narrow"

    @property
    def tolerance(self) -> float:
        """Twenty-four bits a value, and what adds up from layer to layer."""
        return 1e-3

    def run(self, graph: Graph) -> Graph:
        return to_float32(graph, DType.F64)


def is_double(graph: Graph, layers: Collection[str] = LAYERS) -> bool:
    """Whether one of `layers` computes in 64-bit floats; shape and place arithmetic may."""
    return any(op.name in layers and op.result.type.dtype == DType.F64 for op in graph.operators)
