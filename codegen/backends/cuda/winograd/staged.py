"""Convolution quantized in the Winograd domain by three kernels, what is between them in the GPU's memory."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from secateur.ir.filters import byte_matrix
from secateur.ir.graph import Operator

from ....alignment import aligned
from ....kernel import Kernel
from ....primitives.operator import Combination, Constant, Operand, Result, Scratch, Stage
from ....targets.target import Target
from ....weights.origin import Bytes, Origin, places_of
from ..staged import Staged
from . import products
from .costs import input_seconds, output_seconds
from .input import input_kernel
from .operands import combination, constant, constants, layer_of, refusal, residual, weights_of
from .output import output_kernel

MOST_ELEMENTS = (1 << 31) - 1  # kernels index with int32


class WinogradStaged(Staged):
    """Transformed inputs, then products, lie in the workspace."""

    name = "winograd_staged"
    operators = ("winograd_conv",)

    def applicable(self, op: Operator, target: Target) -> str | None:
        if reason := refusal(op):
            return reason
        layer = layer_of(op, target)
        if max(layer.v_bytes, layer.product_bytes // 4) > MOST_ELEMENTS:
            return "more products than a kernel can count"
        return None if products.tile_of(layer, target) else "no tile fits the GPU"

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        return (combination(op, target),)

    def workspace(self, op: Operator, target: Target) -> int:
        layer = layer_of(op, target)
        return aligned(layer.v_bytes) + layer.product_bytes

    def estimate(self, op: Operator, target: Target) -> float:
        layer = layer_of(op, target)
        tile = products.tile_of(layer, target)
        assert tile is not None, "applicable() was not asked"
        multiplied = products.work(layer, target).seconds(tile, target)
        return input_seconds(layer, target) + multiplied + output_seconds(layer, target)

    def tiling(self, op: Operator, target: Target) -> Mapping[str, str]:
        layer = layer_of(op, target)
        tile = products.tile_of(layer, target)
        assert tile is not None, "applicable() was not asked"
        return {
            **super().tiling(op, target),
            "tile of Winograd": f"F({'x'.join(map(str, layer.tile))}, 3x3)",
            **tile.words,
            "waves": f"{products.work(layer, target).tasks(tile)} blocks",
        }

    def kernels(self, op: Operator, target: Target) -> tuple[Kernel, ...]:
        layer = layer_of(op, target)
        tile = products.tile_of(layer, target)
        assert tile is not None, "applicable() was not asked"
        return input_kernel(layer), products.products_kernel(layer, tile, target), output_kernel(layer)

    def stages(self, op: Operator, target: Target) -> tuple[Stage, ...]:
        layer = layer_of(op, target)
        tile = products.tile_of(layer, target)
        assert tile is not None, "applicable() was not asked"
        before, between, behind = self.kernels(op, target)
        known, v, p = constants(op, layer), Scratch(0), Scratch(aligned(layer.v_bytes))
        weights = Constant(products.pack(layer, tile, weights_of(op)))
        ending = (known["bias"], known["parameters"], Result())
        return (
            Stage(before, (Operand(0), known["factors"], v), macs=False),
            Stage(between, (v, weights, known["scales"], p)),
            Stage(behind, (*residual(op), p, *ending), macs=False),
        )

    def origin(self, op: Operator, target: Target) -> Origin | None:
        """Among the arguments of its kernels: data, factors; weights, scales; ..."""
        filters = constant(op.operands[1])
        if filters.ndim != 4:
            return None
        layer = layer_of(op, target)
        tile = products.tile_of(layer, target)
        assert tile is not None, "applicable() was not asked"
        places = places_of(partial(products.arranged, layer, tile), products.extents(layer, tile))
        more = Bytes(constant(op.operands[3]), layer.filters, layer.channels, factor_bytes=4)
        tall, wide = map(byte_matrix, layer.tile)
        return Origin(filters, tall, wide, places, made=(2, 3), bytes=more, factors=1)


PRIMITIVES = (WinogradStaged(),)
