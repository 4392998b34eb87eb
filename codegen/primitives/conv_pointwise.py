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
    max_pixels,
    order_filters_outer,
    pack_bias,
    pack_weights,
    product_seconds,
    task_count,
)

_STRIP = 64  # pixels of a task, about


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
        flat, lanes = _flat(spec), target.lanes
        tiling, blocks = self.tiling(spec, target), up(spec.filters, target.lanes) // target.lanes
        strip = tiling.columns or flat.out_width
        places = flat.batch * flat.out_height * flat.out_width / strip
        steps = up(spec.channels, lanes)
        products = product_seconds(places, blocks, strip, tiling.vectors, steps, target)
        moved = spec.batch * (spec.height * spec.width * spec.channels + spec.pixels * spec.filters)
        traffic = 4 * (spec.channels * spec.filters + max(0, moved - target.l2_bytes // 4))
        return max(products, seconds(target, 0, 1.0, traffic)) + 2e-6

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
        flat, blocks = _flat(spec), up(spec.filters, target.lanes) // target.lanes
        vectors = choose_vectors(blocks, flat.out_width, up(spec.channels, target.lanes), target)
        pixels = min(max_pixels(target.isa.vector_registers, vectors), flat.out_width)
        tiles = max(1, _STRIP // pixels)
        columns = pixels * tiles if flat.out_width > pixels * tiles else 0
        strips = -(-flat.out_width // (columns or flat.out_width)) * flat.out_height
        return Tiling(pixels, vectors, order_filters_outer(flat, target, strips, blocks // vectors), columns)


def _flat(spec: ConvSpec) -> ConvSpec:
    """The same product over one row of height x width pixels, where no pixel is skipped."""
    if spec.strides != (1, 1):
        return spec
    return replace(spec, height=1, width=spec.height * spec.width)


POINTWISE = Pointwise()
