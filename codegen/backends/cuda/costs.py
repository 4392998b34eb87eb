"""The cost table of a GPU, by the primitives' analytic estimates."""

from __future__ import annotations

from secateur.ir.choice import Choice
from secateur.ir.errors import ModelError
from secateur.ir.graph import Operator
from secateur.ir.types import DType, Layout, TensorType

from ...primitives.estimates import Estimates
from ...targets.target import Target
from .primitives import PRIMITIVES

LIBRARY = frozenset({
    "cos", "elu", "erf", "exp", "fmod", "gelu", "gelu_tanh", "log", "mish", "mod", "pow", "round", "rpow",
    "sigmoid", "silu", "sin", "softplus", "tanh",
})  # fmt: skip
"""Functions that in float64 take something from the C library, of which a GPU has none."""


class GpuCosts(Estimates):
    """A change of layout is bound by memory."""

    def __init__(self, target: Target) -> None:
        super().__init__(target, PRIMITIVES)

    def _choices(self, op: Operator) -> tuple[Choice, ...]:
        if op.result.type.dtype == DType.F64 and (lacking := sorted(_functions(op) & LIBRARY)):
            missing = " and no ".join(lacking)
            raise ModelError(
                f"{op.called} cannot be compiled for {self.target.name}: "
                f"GPUs have no {missing} of 64-bit floats here; give the network in float32"
            )
        return super()._choices(op)

    def conversion(self, type: TensorType, source: Layout, destination: Layout) -> float:
        if source == destination:
            return 0.0
        gpu, moved = self.target.gpu, type.with_layout(source).bytes + type.with_layout(destination).bytes
        return 2 * moved / (gpu.dram_gbps * 1e9) + gpu.launch_seconds


def _functions(op: Operator) -> set[str]:
    """What it computes of each element, by name."""
    return {op.name.partition(".")[2], *(step.op for step in op.get("epilogue") or ())}
