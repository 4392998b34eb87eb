"""Grouped convolution on blocked channels.

Filters whose vector lies within one group read that group's channels alone. A
vector that spans groups reads every channel of them, with zero weights for
those of other groups: wasteful for many tiny groups, right for any number.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..kernel import Kernel
from ..targets import Target
from .base import ConvSpec, Floats, block_name, seconds, up
from .conv_tile import (
    KernelSpec,
    Tiling,
    build,
    max_pixels,
    pack_bias,
    pack_weights,
    product_seconds,
    spread_groups,
    step_cycles,
    task_count,
    window,
)


@dataclass(frozen=True)
class Grouped:
    """Any number of groups, kernel, stride, dilation and padding."""

    name: str = "grouped"

    def applicable(self, spec: ConvSpec, target: Target) -> str | None:
        if spec.groups == 1:
            return "a single group"
        if (spec.in_layout, spec.out_layout) not in self.layouts(spec, target):
            return f"layouts {spec.in_layout} -> {spec.out_layout}"
        return None

    def layouts(self, spec: ConvSpec, target: Target) -> tuple[tuple[str, str], ...]:
        return ((block_name(target), block_name(target)),)

    def workspace(self, spec: ConvSpec, target: Target) -> int:
        return 0

    def estimate(self, spec: ConvSpec, target: Target) -> float:
        lanes, vectors = target.lanes, self.tiling(spec, target).vectors
        steps = window(spec, vectors, lanes, lanes) * lanes * spec.kernel[0] * spec.kernel[1]
        blocks, places = up(spec.filters, lanes) // lanes, spec.batch * spec.out_height
        products = product_seconds(places, blocks, spec.out_width, vectors, steps, target)
        return max(products, seconds(target, 0, 1.0, 4.0 * blocks * lanes * steps)) + 2e-6

    def pack(
        self, spec: ConvSpec, target: Target, weights: Floats, bias: Floats | None
    ) -> tuple[Floats, ...]:
        vectors, lanes = self.tiling(spec, target).vectors, target.lanes
        spread = spread_groups(spec, weights, vectors, lanes, lanes)
        return (pack_weights(spread, vectors, lanes, lanes), *pack_bias(bias, spec.filters, lanes))

    def kernel(self, spec: ConvSpec, target: Target) -> Kernel:
        tiling, lanes = self.tiling(spec, target), target.lanes
        key = KernelSpec(self.name, spec, tiling, lanes)
        return Kernel(self.name, key, lambda: build(spec, tiling, lanes), task_count(spec, tiling, lanes))

    def tiling(self, spec: ConvSpec, target: Target) -> Tiling:
        lanes, taps = target.lanes, spec.kernel[0] * spec.kernel[1]
        blocks = up(spec.filters, lanes) // lanes

        def work(vectors: int) -> float:
            steps = window(spec, vectors, lanes, lanes) * lanes * taps
            return steps * step_cycles(spec.out_width, vectors, steps, target) / vectors

        vectors = min((v for v in (1, 2, 3, 4) if blocks % v == 0), key=work)
        return Tiling(min(max_pixels(target.isa.vector_registers, vectors), spec.out_width), vectors)


GROUPED = Grouped()
