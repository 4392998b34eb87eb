"""1x1 convolution as a matrix product over pixels; with stride 1 the image is one long row."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from ...targets.target import Target
from ..specs import ConvSpec
from .arithmetic import Arithmetic
from .plan import (
    Tiling,
    choose_order,
    choose_vectors,
    largest_part,
    product_seconds,
)
from .rows_by_element import rows_of
from .tile import channel_steps
from .tiled import Tiled

Array = NDArray[Any]


@dataclass(frozen=True)
class Pointwise(Tiled):
    """1x1 kernels of one group without padding, any stride."""

    name: str = "pointwise"

    def arithmetic(self, spec: ConvSpec, target: Target) -> Arithmetic:
        return rows_of(spec, target) or super().arithmetic(spec, target)

    def refusal(self, spec: ConvSpec) -> str | None:
        if spec.kernel != (1, 1) or spec.groups != 1:
            return f"kernel {spec.kernel}, {spec.groups} groups"
        return f"pads {spec.pads}" if any(spec.pads) else None

    def walked(self, spec: ConvSpec) -> ConvSpec:
        return _flat(spec)

    def layouts(self, spec: ConvSpec, target: Target) -> tuple[tuple[str, str], ...]:
        return (spec.blocked_layouts(target),)

    def estimate(self, spec: ConvSpec, target: Target) -> float:
        flat, arithmetic = _flat(spec), self.arithmetic(spec, target)
        tiling = self.tiling(spec, target)
        groups, strip = spec.filter_groups(target.lanes, tiling.vectors), tiling.columns or flat.out_width
        places = flat.batch * flat.out_height * flat.out_width / strip
        steps = _steps(spec, arithmetic)
        products = product_seconds(places, groups, strip, tiling.vectors, steps, target, arithmetic)
        return products + self.traffic_seconds(spec, tiling, target) + 2e-6

    def steps(self, spec: ConvSpec, target: Target) -> int:
        return _steps(spec, self.arithmetic(spec, target))

    def tiling(self, spec: ConvSpec, target: Target) -> Tiling:
        flat, arithmetic = _flat(spec), self.arithmetic(spec, target)
        vectors = choose_vectors(spec, flat.out_width, _steps(spec, arithmetic), target, arithmetic)
        pixels = min(arithmetic.tile_pixels(target.isa.vector_registers, vectors), flat.out_width)
        columns = _strip(flat, target, pixels)
        strips = -(-flat.out_width // columns) * flat.out_height
        order = choose_order(flat, target, strips, spec.filter_groups(target.lanes, vectors))
        columns = 0 if columns >= flat.out_width else columns
        return Tiling(pixels, vectors, order.filters_outer, columns, order.ahead)


def _steps(spec: ConvSpec, arithmetic: Arithmetic) -> int:
    """Steps that an output element sums."""
    return channel_steps(spec, arithmetic)


def _strip(spec: ConvSpec, target: Target, pixels: int) -> int:
    """Pixels of a task: whole tiles, about 64 to 256, whose input leaves room in the second-level cache."""
    fitting = target.l2_bytes * 2 // 5 // (spec.element_bytes * spec.channels)
    tiles = -(-spec.out_width // pixels)
    return pixels * largest_part(tiles, max(1, max(64, min(256, fitting)) // pixels))


def _flat(spec: ConvSpec) -> ConvSpec:
    """The same product over one row of height x width pixels, where no pixel is skipped."""
    if spec.strides != (1, 1):
        return spec
    return replace(spec, height=1, width=spec.height * spec.width)


POINTWISE = Pointwise()
