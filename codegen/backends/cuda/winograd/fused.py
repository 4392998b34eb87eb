"""Convolution quantized in the Winograd domain by one kernel: tiles of a block lie in shared memory."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from secateur.ir.filters import byte_matrix
from secateur.ir.graph import Operator

from ....kernel import Kernel
from ....primitives.operator import Argument, Combination, Constant, Operand, Primitive
from ....targets.target import Target
from ....weights.origin import Bytes, Origin, places_of
from .fused_kernel import ordered
from .fused_kernels import kernel_of, pack
from .fused_schedules import fastest
from .fused_tile import FusedTile
from .layer import Layer
from .operands import combination, constant, constants, layer_of, refusal, residual, weights_of


def schedule(layer: Layer, target: Target) -> FusedTile | None:
    """The fastest by the model; None where none fits."""
    return fastest(layer, target)


class WinogradFused(Primitive):
    """Nothing but the image, weights and the result is in the GPU's memory."""

    name = "winograd_fused"
    operators = ("winograd_conv",)

    def applicable(self, op: Operator, target: Target) -> str | None:
        if reason := refusal(op):
            return reason
        return None if schedule(layer_of(op, target), target) else "no tile fits the GPU"

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        return (combination(op, target),)

    def estimate(self, op: Operator, target: Target) -> float:
        layer = layer_of(op, target)
        return self._schedule(layer, target).seconds(layer, target)

    def tiling(self, op: Operator, target: Target) -> Mapping[str, str]:
        layer = layer_of(op, target)
        tile = self._schedule(layer, target)
        return {
            **super().tiling(op, target),
            "tile of Winograd": f"F({'x'.join(map(str, layer.tile))}, 3x3)",
            **tile.words,
            "waves": f"{tile.blocks(layer)} blocks",
        }

    def arguments(self, op: Operator, target: Target) -> tuple[Argument, ...]:
        layer = layer_of(op, target)
        known = constants(op, layer)
        weights = pack(layer, self._schedule(layer, target), weights_of(op))
        factors = Constant(ordered(known["factors"].array))
        ending = (known["scales"], known["bias"], known["parameters"])
        return (Operand(0), *residual(op), Constant(weights), factors, *ending)

    def origin(self, op: Operator, target: Target) -> Origin | None:
        """Among the arguments: data, a residual or none; weights, factors, scales; ..."""
        filters = constant(op.operands[1])
        if filters.ndim != 4:
            return None
        layer, first = layer_of(op, target), 1 + len(residual(op))
        shape = (layer.positions, layer.filters, layer.channels)
        places = places_of(partial(pack, layer, self._schedule(layer, target)), shape)
        scales = constant(op.operands[3])
        more = Bytes(scales, layer.filters, layer.channels, factor_bytes=4, crossed=True)
        tall, wide = map(byte_matrix, layer.tile)
        made, factors = (first, first + 2), first + 1
        return Origin(filters, tall, wide, places, made=made, bytes=more, factors=factors)

    def kernel(self, op: Operator, target: Target) -> Kernel:
        layer = layer_of(op, target)
        return kernel_of(layer, self._schedule(layer, target))

    def _schedule(self, layer: Layer, target: Target) -> FusedTile:
        tile = schedule(layer, target)
        assert tile is not None, "applicable() was not asked"
        return tile


PRIMITIVES = (WinogradFused(),)
