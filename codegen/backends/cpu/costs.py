"""The cost table of a processor, by the primitives' analytic estimates."""

from __future__ import annotations

from secateur.ir.types import Layout, TensorType

from ...primitives.estimates import Estimates
from ...primitives.generic import CALL_SECONDS
from ...primitives.move.relayout import Relayout
from ...targets.target import Target
from .primitives import PRIMITIVES


class AnalyticCosts(Estimates):
    """Of processors."""

    def __init__(self, target: Target) -> None:
        super().__init__(target, PRIMITIVES)

    def conversion(self, type: TensorType, source: Layout, destination: Layout) -> float:
        if source == destination:
            return 0.0
        moved = type.with_layout(source).bytes + type.with_layout(destination).bytes
        cycles = type.elements * Relayout.cost / (self.target.lanes * 4 / type.dtype.bytes)
        streaming = moved / (self.target.gbps(moved) * 1e9)
        return max(streaming, cycles / (self.target.clock_ghz * 1e9)) + CALL_SECONDS
