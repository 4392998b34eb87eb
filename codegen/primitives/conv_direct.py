"""Direct convolution: blocked channels in and out, or few plain channels in (a network's first layer)."""

from __future__ import annotations

from dataclasses import dataclass

from ..kernel import Kernel
from ..targets import Target
from .base import ConvSpec, Floats, block_name, layout_block, up
from .conv_tile import (
    KernelSpec,
    Tiling,
    build,
    choose_order,
    choose_vectors,
    max_pixels,
    pack_bias,
    pack_weights,
    product_seconds,
    task_count,
    traffic_seconds,
)

_PLAIN_SUMS = 24  # registers for sums with plain input
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
        blocks, steps = up(spec.filters, target.lanes) // target.lanes, _steps(spec)
        vectors = self.tiling(spec, target).vectors
        places = spec.batch * spec.out_height
        products = product_seconds(places, blocks, spec.out_width, vectors, steps, target)
        order = choose_order(spec, target, spec.out_height, blocks // vectors)
        return products + traffic_seconds(spec, order, target) + 2e-6

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
        blocks = up(spec.filters, target.lanes) // target.lanes
        vectors = choose_vectors(blocks, spec.out_width, _steps(spec), target)
        pixels = max_pixels(target.isa.vector_registers, vectors)
        if (
            spec.in_layout == "NCHW"
        ):  # taps of a row are one block of code, whose scheduling wants spare registers
            vectors = max(v for v in (1, 2, 3, 4) if blocks % v == 0)
            pixels = min(max_pixels(target.isa.vector_registers, vectors), _PLAIN_SUMS // vectors)
        order = choose_order(spec, target, spec.out_height, blocks // vectors)
        return Tiling(min(pixels, spec.out_width), vectors, order.filters_outer, ahead=order.ahead)


def _steps(spec: ConvSpec) -> int:
    """Input elements that an output element sums."""
    return up(spec.channels, layout_block(spec.in_layout)) * spec.kernel[0] * spec.kernel[1]


DIRECT = Direct()
