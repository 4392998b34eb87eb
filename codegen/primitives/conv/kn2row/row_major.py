"""Convolution by shifted products that add up, kn2row: row-major in and out, next to no memory.

A task has a strip of output rows of a few filters. For every kernel row, a matrix
product of that row's weights and the image is added to the sums at a shifted
place, clipped where it would leave the image, so nothing is padded or copied.
Sums stay in registers over channels and kernel columns; between kernel rows they
lie in the result itself, or in a strip of workspace where the result may lie on a residual.
The accumulating variant of Anderson, Vasudevan, Keane and Gregg, "Low-memory
GEMM-based convolution algorithms for deep neural networks" (2017), with the taps of a
kernel row side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from ....kernel import Kernel
from ....targets.target import Target
from ...operator import Cost
from ...specs import ConvSpec, Floats
from ..plan import KernelSpec
from ..planned import Planned
from .row_major_nest import build
from .row_major_plan import Plan, plans

_WIDEST = 1024  # columns of the kernel times those it spans: the code of a row's taps


@dataclass(frozen=True)
class RowMajorKn2row(Planned[ConvSpec, Plan]):
    """Stride 1, one group; any kernel, dilation and padding."""

    name: str = "kn2row"

    def applicable(self, spec: ConvSpec, target: Target) -> str | None:
        if spec.groups != 1 or spec.strides != (1, 1):
            return f"{spec.groups} groups, strides {spec.strides}"
        if spec.reach:
            return "an operand that reaches some channels"
        if spec.kernel[1] * spec.span(1) > _WIDEST:
            return (
                f"a kernel {spec.kernel[1]} columns wide, dilated by {spec.dilations[1]}, takes too much code"
            )
        return super().applicable(spec, target)

    def layouts(self, spec: ConvSpec, target: Target) -> tuple[tuple[str, str], ...]:
        return (("NCHW", "NCHW"),)

    def plans(self, spec: ConvSpec, target: Target) -> dict[Plan, Cost]:
        return plans(spec.costed(), target)

    def plan_words(self, plan: Plan) -> dict[str, str]:
        return {
            "register tile": f"{plan.filters} filters x {plan.vectors} vectors of columns",
            "strip": f"{plan.rows} rows",
        }

    def pack(
        self, spec: ConvSpec, target: Target, weights: Floats, bias: Floats | None
    ) -> tuple[Floats, ...]:
        """Weights as [group of filters][kh][channel][kw][filter]; the last group may be smaller."""
        size = self.plan(spec, target).filters
        groups = [weights[first : first + size] for first in range(0, spec.filters, size)]
        packed = np.concatenate([group.transpose(2, 1, 3, 0).reshape(-1) for group in groups])
        return (packed,) if bias is None else (packed, np.ascontiguousarray(bias))

    def kernel(self, spec: ConvSpec, target: Target) -> Kernel:
        plan = self.plan(spec, target)
        tasks = spec.batch * -(-spec.out_height // plan.rows) * -(-spec.filters // plan.filters)
        key = KernelSpec(self.name, spec, plan, plan.lanes)
        return Kernel(self.name, key, partial(build, spec, plan), tasks, self.workspace(spec, target))


KN2ROW = RowMajorKn2row()
