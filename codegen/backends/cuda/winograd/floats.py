"""Winograd convolution of float32 and binary16 by three kernels, what is between them in the GPU's memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from secateur.ir.filters import Matrix, half_matrix, rational_matrix, transformed_filters
from secateur.ir.graph import Operator

from ....alignment import aligned
from ....kernel import Kernel
from ....primitives.conv.tile import pack_bias
from ....primitives.conv.winograd.float32 import WinogradConv
from ....primitives.operator import Argument, Result, Scratch, Stage
from ....primitives.specs import ConvSpec, Floats
from ....targets.target import Target
from ....weights.origin import Origin, places_of
from ..implicit_gemm import FloatGemm, HalfGemm
from ..staged import Staged
from ..thread import thread_of
from ..tile import Tile
from . import products
from .costs import input_seconds, output_seconds
from .float_transforms import input_kernel, output_kernel
from .layer import FloatLayer

MOST_ELEMENTS = (1 << 31) - 1  # kernels index with int32


@dataclass(frozen=True)
class StagedFloats:
    """F(outputs, 3) on both axes of a 3x3 kernel with stride 1 and one group."""

    outputs: int

    @property
    def name(self) -> str:
        return f"winograd{self.outputs}_staged"

    def layouts(self, spec: ConvSpec, target: Target) -> tuple[tuple[str, str], ...]:
        thread = thread_of(target)
        return (spec.blocked_layouts(thread.in_half if spec.element_bytes == 2 else thread),)

    def applicable(self, spec: ConvSpec, target: Target) -> str | None:
        if (spec.kernel, spec.strides, spec.dilations, spec.groups) != ((3, 3), (1, 1), (1, 1), 1):
            words = f"strides {spec.strides}, dilations {spec.dilations}, {spec.groups} groups"
            return f"kernel {spec.kernel}, {words}"
        if (spec.in_layout, spec.out_layout) not in self.layouts(spec, target):
            return f"layouts {spec.in_layout} -> {spec.out_layout}"
        layer = self.layer(spec)
        if max(layer.v_bytes, layer.product_bytes) // layer.element_bytes > MOST_ELEMENTS:
            return "more products than a kernel can count"
        return None if products.tile_of(layer, target) else "no tile fits the GPU"

    def layer(self, spec: ConvSpec) -> FloatLayer:
        return FloatLayer(replace(spec, workspace_limit=None), (self.outputs, self.outputs))

    def tile(self, spec: ConvSpec, target: Target) -> Tile:
        tile = products.tile_of(self.layer(spec), target)
        assert tile is not None, "applicable() was not asked"
        return tile

    def workspace(self, spec: ConvSpec, target: Target) -> int:
        layer = self.layer(spec)
        return aligned(layer.v_bytes) + layer.product_bytes

    def estimate(self, spec: ConvSpec, target: Target) -> float:
        layer = self.layer(spec)
        multiplied = products.work(layer, target).seconds(self.tile(spec, target), target)
        return input_seconds(layer, target) + multiplied + output_seconds(layer, target)

    def noise(self, spec: ConvSpec, target: Target) -> float:
        """As on processors, whose sums are no shorter."""
        return WinogradConv(self.name, (self.outputs, self.outputs)).noise(spec, target)

    def tiling_words(self, spec: ConvSpec, target: Target) -> dict[str, str]:
        tile = self.tile(spec, target)
        blocks = products.work(self.layer(spec), target).tasks(tile)
        return {"tile of Winograd": f"F({self.outputs}, 3)", **tile.words, "waves": f"{blocks} blocks"}

    def matrix(self, spec: ConvSpec) -> Matrix:
        """G."""
        return half_matrix(self.outputs) if spec.element_bytes == 2 else rational_matrix(self.outputs)

    def pack(
        self, spec: ConvSpec, target: Target, weights: Floats, bias: Floats | None
    ) -> tuple[Floats, ...]:
        """G w G^T as `products.pack` orders it."""
        layer, g = self.layer(spec), self.matrix(spec)
        spread = transformed_filters(weights, g, g).reshape(layer.positions, spec.filters, spec.channels)
        packed = products.pack(layer, self.tile(spec, target), spread.astype(np.dtype(spec.dtype)))
        return (packed, *pack_bias(bias, spec.filters, layer.block))

    def origin(self, spec: ConvSpec, target: Target, weights: Floats) -> Origin:
        layer, tile, g = self.layer(spec), self.tile(spec, target), self.matrix(spec)
        arranged = partial(products.arranged, layer, tile)
        return Origin(weights, g, g, places_of(arranged, products.extents(layer, tile)))


class _ThreeKernels(Staged, FloatGemm):
    """Transformed inputs, then products, lie in the workspace."""

    primitive: StagedFloats

    def kernels(self, op: Operator, target: Target) -> tuple[Kernel, ...]:
        spec = self.spec(op)
        layer, tile = self.primitive.layer(spec), self.primitive.tile(spec, target)
        return input_kernel(layer), products.products_kernel(layer, tile, target), output_kernel(layer)

    def stages(self, op: Operator, target: Target) -> tuple[Stage, ...]:
        spec = self.spec(op)
        layer = self.primitive.layer(spec)
        before, between, behind = self.kernels(op, target)
        data, *rest = self._given(op, target)
        extras, (weights, *bias) = rest[: len(spec.extras)], rest[len(spec.extras) :]
        v, p = Scratch(0), Scratch(aligned(layer.v_bytes))
        return (
            Stage(before, (data, v), macs=False),
            Stage(between, (v, weights, p)),
            Stage(behind, (*extras, p, *bias, Result()), macs=False),
        )

    def origin(self, op: Operator, target: Target) -> Origin | None:
        """The weights are its second kernel's, so they come right after the data."""
        found = super().origin(op, target)
        return found and replace(found, made=(1,))

    def _given(self, op: Operator, target: Target) -> tuple[Argument, ...]:
        """Data, operands of the epilogue, weights, bias."""
        return FloatGemm.arguments(self, op, target)


class WinogradFloats(_ThreeKernels):
    """`nn.conv` of floats."""


class WinogradHalves(_ThreeKernels, HalfGemm):
    """`nn.conv` of binary16 with sums in it, whose weights are kept as they are multiplied."""

    def origin(self, op: Operator, target: Target) -> Origin | None:
        """None of filters that are not finite, which the runtime does not read."""
        return super().origin(op, target) if np.isfinite(self._weights(op)).all() else None


_WAYS = tuple(map(StagedFloats, (2, 4)))
PRIMITIVES = (
    *(WinogradFloats(way, spreads=True) for way in _WAYS),
    *(WinogradHalves(way) for way in _WAYS),
)
