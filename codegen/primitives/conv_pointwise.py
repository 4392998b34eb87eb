"""1x1 convolution as a matrix product over pixels; with stride 1 the image is one long row."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..kernel import Kernel
from ..targets import Target
from .base import ConvSpec, Floats, block_name, seconds, up
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


@dataclass(frozen=True)
class Pointwise:
    """1x1 kernels of one group without padding, any stride."""

    name: str = "pointwise"

    def applicable(self, spec: ConvSpec, target: Target) -> str | None:
        if spec.kernel != (1, 1) or spec.groups != 1:
            return f"kernel {spec.kernel}, {spec.groups} groups"
        if any(spec.pads):
            return f"pads {spec.pads}"
        if (spec.in_layout, spec.out_layout) not in self.layouts(spec, target):
            return f"layouts {spec.in_layout} -> {spec.out_layout}"
        return None

    def layouts(self, spec: ConvSpec, target: Target) -> tuple[tuple[str, str], ...]:
        return ((block_name(target), block_name(target)),)

    def workspace(self, spec: ConvSpec, target: Target) -> int:
        return 0

    def estimate(self, spec: ConvSpec, target: Target) -> float:
        tiling, lanes = self.tiling(spec, target), target.lanes
        macs = spec.macs / spec.channels / spec.filters * up(spec.channels, lanes) * up(spec.filters, lanes)
        efficiency = 0.85 / max(1.0, 0.45 + 1 / tiling.pixels + 1 / tiling.vectors)
        weights = spec.channels * spec.filters * 4
        pixels = (
            spec.batch * spec.height * spec.width * spec.channels + spec.batch * spec.pixels * spec.filters
        )
        traffic = (
            weights + max(0, 4 * pixels - target.l2_bytes) / 2
        )  # what leaves L2 is half served by the next level
        return seconds(target, macs, efficiency, traffic) + 2e-6

    def pack(
        self, spec: ConvSpec, target: Target, weights: Floats, bias: Floats | None
    ) -> tuple[Floats, ...]:
        packed = pack_weights(weights, self.tiling(spec, target).vectors, target.lanes, target.lanes)
        return (packed, *pack_bias(bias, spec.filters, target.lanes))

    def kernel(self, spec: ConvSpec, target: Target) -> Kernel:
        tiling, lanes, flat = self.tiling(spec, target), target.lanes, _flat(spec)
        key = KernelSpec(self.name, flat, tiling, lanes)
        return Kernel(self.name, key, lambda: build(flat, tiling, lanes), task_count(flat, tiling, lanes))

    def tiling(self, spec: ConvSpec, target: Target) -> Tiling:
        flat, registers = _flat(spec), target.isa.vector_registers
        vectors = choose_vectors(up(spec.filters, target.lanes) // target.lanes, registers, flat.out_width)
        pixels = even_split(flat.out_width, max_pixels(registers, vectors))
        tiles = max(1, 64 // pixels)  # about 64 pixels a task
        columns = pixels * tiles if flat.out_width > pixels * tiles else 0
        return Tiling(pixels, vectors, order_filters_outer(spec, target), columns)


def _flat(spec: ConvSpec) -> ConvSpec:
    """The same product over one row of height x width pixels, where no pixel is skipped."""
    if spec.strides != (1, 1):
        return spec
    return replace(spec, height=1, width=spec.height * spec.width)


POINTWISE = Pointwise()
