"""Direct convolution: blocked channels in and out, or few plain channels in (a network's first layer)."""

from __future__ import annotations

from dataclasses import dataclass

from ..kernel import Kernel
from ..targets import Target
from .base import ConvSpec, Floats, block_name, layout_block, seconds, up
from .conv_tile import (
    KernelSpec,
    Tiling,
    build,
    choose_vectors,
    even_split,
    max_pixels,
    order_filters_outer,
    pack_bias,
    pack_weights,
    task_count,
)

_FEW_CHANNELS = 4  # input channels up to which reading plain NCHW loses nothing


@dataclass(frozen=True)
class Direct:
    """Any kernel, stride, dilation and padding; one group."""

    name: str = "direct"

    def applicable(self, spec: ConvSpec, target: Target) -> str | None:
        if spec.groups != 1:
            return f"{spec.groups} groups"
        if (spec.in_layout, spec.out_layout) not in self.layouts(spec, target):
            return f"layouts {spec.in_layout} -> {spec.out_layout}"
        return None

    def layouts(self, spec: ConvSpec, target: Target) -> tuple[tuple[str, str], ...]:
        blocked = block_name(target)
        plain = (("NCHW", blocked),) if spec.channels <= _FEW_CHANNELS else ()
        return (*plain, (blocked, blocked))

    def workspace(self, spec: ConvSpec, target: Target) -> int:
        return 0

    def estimate(self, spec: ConvSpec, target: Target) -> float:
        tiling = self.tiling(spec, target)
        block, lanes = layout_block(spec.in_layout), target.lanes
        macs = spec.macs / spec.channels / spec.filters * up(spec.channels, block) * up(spec.filters, lanes)
        loads = 1 / tiling.pixels + 1 / tiling.vectors  # vector loads for each FMA
        efficiency = 0.85 / max(1.0, 0.45 + loads)
        weights = up(spec.channels, block) * up(spec.filters, lanes) * spec.kernel[0] * spec.kernel[1] * 4
        return seconds(target, macs, efficiency, weights) + 2e-6

    def pack(
        self, spec: ConvSpec, target: Target, weights: Floats, bias: Floats | None
    ) -> tuple[Floats, ...]:
        tiling = self.tiling(spec, target)
        packed = pack_weights(weights, tiling.vectors, target.lanes, layout_block(spec.in_layout))
        return (packed, *pack_bias(bias, spec.filters, target.lanes))

    def kernel(self, spec: ConvSpec, target: Target) -> Kernel:
        tiling, lanes = self.tiling(spec, target), target.lanes
        key = KernelSpec(self.name, spec, tiling, lanes)
        return Kernel(self.name, key, lambda: build(spec, tiling, lanes), task_count(spec, tiling, lanes))

    def tiling(self, spec: ConvSpec, target: Target) -> Tiling:
        blocks, registers = up(spec.filters, target.lanes) // target.lanes, target.isa.vector_registers
        vectors = choose_vectors(blocks, registers, spec.out_width)
        pixels = even_split(spec.out_width, max_pixels(registers, vectors))
        return Tiling(pixels, vectors, order_filters_outer(spec, target))


DIRECT = Direct()
