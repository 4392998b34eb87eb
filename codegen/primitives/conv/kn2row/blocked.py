"""8-bit convolution by products that add up in place, kn2row: weights are read once for a strip of rows.

A task has a strip of output rows of a group of filters. For every tap, or the taps of
a kernel row together, a matrix product of its weights and the image is added to the
int32 sums of the strip, which lie in the workspace; taps beside the image are left out.
The weights of one pass stay in the first-level cache while the strip is gone through.

Channels lie in blocks of 16, as a dot product takes four of them side by side: row-major
bytes would be shuffled into quads for every tap and used for a few filters only. After Anderson,
Vasudevan, Keane and Gregg, "Low-memory GEMM-based convolution algorithms for deep
neural networks" (2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from numpy.typing import NDArray

from ....kernel import Kernel
from ....rounding import up
from ....targets.target import Target
from ...operator import Cost
from ...specs import Floats, layout_block
from ..int8_spec import LinearSpec
from ..plan import KernelSpec
from ..planned import Planned
from .blocked_nest import build
from .blocked_plan import Plan, plans, tap_arithmetic

Array = NDArray[Any]


@dataclass(frozen=True)
class BlockedKn2row(Planned[LinearSpec, Plan]):
    """Any kernel, stride, dilation and padding; one group."""

    name: str = "kn2row"

    def applicable(self, spec: LinearSpec, target: Target) -> str | None:
        if spec.wide:
            return f"a kernel {spec.kernel[1]} columns wide takes too much code"
        return super().applicable(spec, target)

    def layouts(self, spec: LinearSpec, target: Target) -> tuple[tuple[str, str], ...]:
        return (spec.blocked_layouts(target),)

    def plans(self, spec: LinearSpec, target: Target) -> dict[Plan, Cost]:
        return plans(spec.costed(), target)

    def plan_words(self, plan: Plan) -> dict[str, str]:
        return {
            "register tile": f"{plan.pixels} pixels x {plan.vectors} vectors of filters",
            "strip": f"{plan.rows} rows, {plan.columns} kernel columns a pass",
        }

    def pack(
        self, spec: LinearSpec, target: Target, weights: Array, bias: Floats | None
    ) -> tuple[Array, ...]:
        vectors = self.plan(spec, target).vectors
        filters = spec.filter_groups(target.lanes, vectors) * vectors * target.lanes
        channels = up(spec.channels, layout_block(spec.in_layout))
        return (tap_arithmetic(spec, target).pack_taps(weights, vectors, channels, filters),)

    def kernel(self, spec: LinearSpec, target: Target) -> Kernel:
        plan, arithmetic = self.plan(spec, target), tap_arithmetic(spec, target)
        groups = spec.filter_groups(target.lanes, plan.vectors)
        tasks = spec.batch * groups * -(-spec.out_height // plan.rows)
        key = KernelSpec(self.name, spec, plan, target.lanes)
        return Kernel(
            self.name, key, partial(build, spec, plan, arithmetic), tasks, self.workspace(spec, target)
        )


BLOCKED_KN2ROW = BlockedKn2row()
