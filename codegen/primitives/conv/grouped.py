"""Grouped convolution on blocked channels.

Filters whose vector lies within one group read that group's channels alone. A
vector that spans groups reads every channel of them, with zero weights for
those of other groups: wasteful for many tiny groups, right for any number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ...targets.target import Target
from ..specs import ConvSpec, layout_block, seconds
from .arithmetic import Arithmetic, arithmetic_of
from .plan import Tiling, product_seconds, step_cycles
from .tile import spread_groups, window
from .tiled import Tiled

Array = NDArray[Any]


@dataclass(frozen=True)
class Grouped(Tiled):
    """Any number of groups, kernel, stride, dilation and padding."""

    name: str = "grouped"

    def refusal(self, spec: ConvSpec) -> str | None:
        return "a single group" if spec.groups == 1 else None

    def spread(self, spec: ConvSpec, target: Target, weights: Array) -> Array:
        vectors = self.tiling(spec, target).vectors
        return spread_groups(spec, weights, vectors, target.lanes, layout_block(spec.in_layout))

    def layouts(self, spec: ConvSpec, target: Target) -> tuple[tuple[str, str], ...]:
        return (spec.blocked_layouts(target),)

    def estimate(self, spec: ConvSpec, target: Target) -> float:
        lanes, vectors, arithmetic = (
            target.lanes,
            self.tiling(spec, target).vectors,
            arithmetic_of(spec, target),
        )
        steps = _steps(spec, vectors, arithmetic)
        blocks, places = spec.filter_vectors(lanes), spec.batch * spec.out_height
        products = product_seconds(
            places, blocks // vectors, spec.out_width, vectors, steps, target, arithmetic
        )
        streamed = 4.0 * blocks * lanes * steps
        return max(products, seconds(target, 0, 1.0, streamed)) + 2e-6

    def steps(self, spec: ConvSpec, target: Target) -> int:
        return _steps(spec, self.tiling(spec, target).vectors, arithmetic_of(spec, target))

    def tiling(self, spec: ConvSpec, target: Target) -> Tiling:
        blocks, arithmetic = spec.filter_vectors(target.lanes), arithmetic_of(spec, target)

        def work(vectors: int) -> float:
            steps = _steps(spec, vectors, arithmetic)
            return steps * step_cycles(spec.out_width, vectors, steps, target, arithmetic) / vectors

        vectors = min((v for v in (1, 2, 3, 4) if blocks % v == 0), key=work)
        pixels = arithmetic.tile_pixels(target.isa.vector_registers, vectors)
        return Tiling(min(pixels, spec.out_width), vectors)


def _steps(spec: ConvSpec, vectors: int, arithmetic: Arithmetic) -> int:
    """Steps that a register tile of `vectors` filter vectors sums."""
    block, taps = layout_block(spec.in_layout), spec.kernel[0] * spec.kernel[1]
    return window(spec, vectors, arithmetic.lanes, block) * block // arithmetic.step * taps


GROUPED = Grouped()
