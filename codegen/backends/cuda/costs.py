"""The cost table of a GPU, by the primitives' analytic estimates."""

from __future__ import annotations

from secateur.ir.types import Layout, TensorType

from ...primitives.estimates import Estimates
from ...targets.target import Target
from .primitives import PRIMITIVES


class GpuCosts(Estimates):
    """A change of layout is bound by memory."""

    def __init__(self, target: Target) -> None:
        super().__init__(target, PRIMITIVES)

    def conversion(self, type: TensorType, source: Layout, destination: Layout) -> float:
        if source == destination:
            return 0.0
        gpu, moved = self.target.gpu, type.with_layout(source).bytes + type.with_layout(destination).bytes
        return 2 * moved / (gpu.dram_gbps * 1e9) + gpu.launch_seconds
