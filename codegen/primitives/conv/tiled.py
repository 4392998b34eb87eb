"""Convolutions that are one register-tiled loop nest, `tile`: direct, pointwise and grouped ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import Any

from numpy.typing import NDArray

from ...kernel import Kernel
from ...targets.target import Target
from ..specs import ConvSpec, Floats, layout_block
from .arithmetic import Arithmetic
from .int8_spec import LinearSpec
from .matrix import tile_arithmetic
from .plan import KernelSpec, Tiling, task_count, tiling_in_words
from .sums_of_channels import by_channels
from .tile import build, pack_bias
from .traffic import TiledTraffic

Array = NDArray[Any]


class Tiled(ABC):
    """Takes no workspace."""

    name: str

    def arithmetic(self, spec: ConvSpec, target: Target) -> Arithmetic:
        """What the nest multiplies by."""
        found = tile_arithmetic(spec, target)
        return by_channels(found, spec.room, target) if isinstance(spec, LinearSpec) else found

    @abstractmethod
    def layouts(self, spec: ConvSpec, target: Target) -> tuple[tuple[str, str], ...]:
        """Names of the layouts of input and result, for each way to lay them out."""

    @abstractmethod
    def tiling(self, spec: ConvSpec, target: Target) -> Tiling:
        """Of the walk that `walked` gives."""

    @abstractmethod
    def refusal(self, spec: ConvSpec) -> str | None:
        """Why the convolution is none of this kind, whatever its layouts, or None."""

    def walked(self, spec: ConvSpec) -> ConvSpec:
        """What the nest goes through."""
        return spec

    def spread(self, spec: ConvSpec, target: Target, weights: Array) -> Array:
        """Weights as the nest multiplies them, OIHW."""
        return weights

    def applicable(self, spec: ConvSpec, target: Target) -> str | None:
        if (spec.in_layout, spec.out_layout) in self.layouts(spec, target):
            return self.refusal(spec)
        return self.refusal(spec) or f"layouts {spec.in_layout} -> {spec.out_layout}"

    @abstractmethod
    def steps(self, spec: ConvSpec, target: Target) -> int:
        """Steps that an element of the result sums."""

    def tiling_words(self, spec: ConvSpec, target: Target) -> dict[str, str]:
        """What cuts the work, in words (see `Primitive.tiling`)."""
        tiling, arithmetic = self.tiling(spec, target), self.arithmetic(spec, target)
        traffic = TiledTraffic(self.walked(spec), tiling, target.lanes).on(target)
        words = tiling_in_words(tiling, self.steps(spec, target), target, arithmetic)
        return {**words, "traffic": traffic.words}

    def traffic_seconds(self, spec: ConvSpec, tiling: Tiling, target: Target) -> float:
        """What streaming adds to the time of the products, which hides a part of it."""
        traffic = TiledTraffic(self.walked(spec), tiling, target.lanes).on(target)
        beyond = max(0, traffic.far + traffic.written - target.l2_bytes)
        return 0.6 * beyond / (target.far_gbps(beyond) * 1e9)

    def workspace(self, spec: ConvSpec, target: Target) -> int:
        return 0

    def pack(self, spec: ConvSpec, target: Target, weights: Array, bias: Floats | None) -> tuple[Array, ...]:
        vectors = self.tiling(spec, target).vectors
        filters = spec.filter_groups(target.lanes, vectors) * vectors * target.lanes
        arithmetic, spread = self.arithmetic(spec, target), self.spread(spec, target, weights)
        block = max(layout_block(spec.in_layout), arithmetic.step)
        packed = arithmetic.pack(spread, vectors, block, filters)
        return (packed, *pack_bias(bias, spec.filters, target.lanes))

    def kernel(self, spec: ConvSpec, target: Target) -> Kernel:
        tiling, lanes, walked = self.tiling(spec, target), target.lanes, self.walked(spec)
        key = KernelSpec(self.name, walked, tiling, lanes)
        code = partial(build, walked, tiling, self.arithmetic(spec, target))
        return Kernel(self.name, key, code, task_count(walked, tiling, lanes))
