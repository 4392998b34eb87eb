"""Direct convolution: blocked channels in and out, or few plain channels in (a network's first layer)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ...targets.target import Target
from ..specs import ConvSpec, layout_block
from .arithmetic import Arithmetic
from .plan import (
    Tiling,
    choose_order,
    choose_vectors,
    product_seconds,
    seen_taps,
)
from .rows_by_element import rows_of
from .tile import channel_steps
from .tiled import Tiled

Array = NDArray[Any]

_PLAIN_SUMS = 24  # registers for sums with plain input
_BYTE_SUMS = 14  # and with quads
_FEW_CHANNELS = 4  # input channels up to which reading plain NCHW loses nothing


@dataclass(frozen=True)
class Direct(Tiled):
    """Any kernel, stride, dilation and padding; one group."""

    name: str = "direct"

    def arithmetic(self, spec: ConvSpec, target: Target) -> Arithmetic:
        return rows_of(spec, target) or super().arithmetic(spec, target)

    def refusal(self, spec: ConvSpec) -> str | None:
        return f"{spec.groups} groups" if spec.groups != 1 else None

    def layouts(self, spec: ConvSpec, target: Target) -> tuple[tuple[str, str], ...]:
        source, result = spec.blocked_layouts(target)
        few = ((spec.few_channels_layout(), result),) if spec.channels <= _FEW_CHANNELS else ()
        return (*few, (source, result))

    def estimate(self, spec: ConvSpec, target: Target) -> float:
        arithmetic, tiling = self.arithmetic(spec, target), self.tiling(spec, target)
        vectors, steps = tiling.vectors, _steps(spec, arithmetic)
        places, groups = spec.batch * spec.out_height, spec.filter_groups(target.lanes, vectors)
        seen = seen_taps(spec, 0) * seen_taps(spec, 1)
        products = product_seconds(places, groups, spec.out_width, vectors, steps, target, arithmetic, seen)
        return products + self.traffic_seconds(spec, tiling, target) + 2e-6

    def steps(self, spec: ConvSpec, target: Target) -> int:
        return _steps(spec, self.arithmetic(spec, target))

    def tiling(self, spec: ConvSpec, target: Target) -> Tiling:
        arithmetic = self.arithmetic(spec, target)
        few = arithmetic.step == 1 or arithmetic.at_once == 1
        if layout_block(spec.in_layout) == arithmetic.step and few:
            vectors, pixels = _row_tile(spec, target, arithmetic)
        else:
            vectors = choose_vectors(spec, spec.out_width, _steps(spec, arithmetic), target, arithmetic)
            pixels = arithmetic.tile_pixels(target.isa.vector_registers, vectors)
        groups = spec.filter_groups(target.lanes, vectors)
        order = choose_order(spec, target, spec.out_height, groups)
        return Tiling(min(pixels, spec.out_width), vectors, order.filters_outer, ahead=order.ahead)


def _row_tile(spec: ConvSpec, target: Target, arithmetic: Arithmetic) -> tuple[int, int]:
    """(vectors, pixels) where taps of a row are one block of code, whose scheduling wants spare registers."""
    if arithmetic.step == 1 < arithmetic.at_once and not spec.wide:
        vectors = max(v for v in spec.tile_vectors(target.lanes) if v <= 2)
        registers = target.isa.vector_registers - (spec.dtype == "float16")
        return vectors, _row_pixels(spec, vectors, registers, target.lanes)
    most, sums = (4, _PLAIN_SUMS) if arithmetic.step == 1 else (2, _BYTE_SUMS)
    vectors = max(v for v in spec.tile_vectors(target.lanes) if v <= most)
    return vectors, min(arithmetic.tile_pixels(target.isa.vector_registers, vectors), sums // vectors)


def _row_pixels(spec: ConvSpec, vectors: int, registers: int, lanes: int) -> int:
    """Of a tile whose sums, columns and weights fit the registers, with two to spare."""

    def taken(pixels: int) -> int:
        columns = (pixels - 1) * spec.strides[1] + (spec.kernel[1] - 1) * spec.dilations[1] + 1
        return pixels * vectors + -(-columns // lanes) + vectors + 2

    return max((p for p in range(1, registers) if taken(p) <= registers), default=1)


def _steps(spec: ConvSpec, arithmetic: Arithmetic) -> int:
    """Steps that an output element sums."""
    return channel_steps(spec, arithmetic) * spec.kernel[0] * spec.kernel[1]


DIRECT = Direct()
