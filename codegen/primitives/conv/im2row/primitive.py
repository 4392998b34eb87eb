"""Convolution as a matrix product over a strip of pixels whose taps are first copied side by side.

The strip (taps x pixels) is written to the workspace once and used for every
filter. Taps outside the image are copied as what padding is, so borders cost nothing in the
product, and pixels of several rows share a register tile: the choice for small images with
many channels, whose panels of weights would be streamed for every row.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from numpy.typing import NDArray

from ....kernel import Kernel
from ....targets.target import Target
from ...operator import Cost
from ...specs import ConvSpec, Floats
from ..matrix import copied_offset, strip_arithmetic
from ..plan import KernelSpec
from ..planned import Planned
from ..tile import pack_bias
from .nest import build
from .plan import Strip, costs, planner_of

Array = NDArray[Any]

_FEW_CHANNELS = 4  # that bytes are copied of from an image of as many lanes


@dataclass(frozen=True)
class Im2row(Planned[ConvSpec, Strip]):
    """Any kernel, stride, dilation and padding; one group."""

    name: str = "im2row"

    def layouts(self, spec: ConvSpec, target: Target) -> tuple[tuple[str, str], ...]:
        source, result = spec.blocked_layouts(target)
        few = spec.few_channels_layout()
        if spec.element_bytes == 1:
            return ((few if spec.channels <= _FEW_CHANNELS else source, result),)
        return (source, result), (few, result)

    def plans(self, spec: ConvSpec, target: Target) -> dict[Strip, Cost]:
        return costs(spec.costed(), target)

    def plan_words(self, plan: Strip) -> dict[str, str]:
        parts = f", filters in {plan.splits} parts" if plan.splits > 1 else ""
        return {
            "register tile": f"{plan.rows} pixels x {plan.vectors} vectors of filters",
            "strip": f"{plan.pixels} pixels{parts}",
            "cache": f"{plan.blocks} input blocks at a time",
        }

    def pack(self, spec: ConvSpec, target: Target, weights: Array, bias: Floats | None) -> tuple[Array, ...]:
        packed = planner_of(spec, target).pack(weights, self.plan(spec, target).vectors)
        return (packed, *pack_bias(bias, spec.filters, target.lanes))

    def kernel(self, spec: ConvSpec, target: Target) -> Kernel:
        strip, arithmetic = self.plan(spec, target), strip_arithmetic(spec, target)
        offset = copied_offset(spec, target)
        spec = spec.unbordered()  # the copied taps hold what padding is
        tasks = spec.batch * -(-spec.pixels // strip.pixels) * strip.splits
        key = KernelSpec(self.name, spec, strip, target.lanes)
        code = partial(build, spec, strip, arithmetic, offset)
        return Kernel(self.name, key, code, tasks, self.workspace(spec, target))


IM2ROW = Im2row()
