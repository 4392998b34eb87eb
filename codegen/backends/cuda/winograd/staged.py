"""Convolution quantized in the Winograd domain by three kernels, what is between them in the GPU's memory."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.filters import byte_matrix
from secateur.ir.graph import Operator
from secateur.ir.ops.linear import one_quant
from secateur.ir.reference.winograd import domain_weights
from secateur.ir.types import ROW_MAJOR, blocked

from ....primitives.conv.int8_spec import LinearSpec
from ....primitives.operator import (
    Argument,
    Combination,
    Constant,
    Operand,
    Result,
    Scratch,
    Stage,
    constant_of,
)
from ....program import ALIGNMENT
from ....rounding import up
from ....targets.target import Target
from ....vector.requantize import BLOCK, requantization, result_parameters
from ....weights.origin import Bytes, Origin, places_of
from ..staged import Staged
from ..thread import thread_of
from . import products
from .costs import input_seconds, output_seconds
from .input import input_kernel
from .layer import Layer
from .output import output_kernel

Array = NDArray[Any]
MOST_ELEMENTS = (1 << 31) - 1  # kernels index with int32
RESIDUAL = 5  # its place among the operands


def layer_of(op: Operator, target: Target) -> Layer:
    """Of a `q.winograd_conv`, whatever its layouts: there is but one combination."""
    x, block = op.operands[0].type, result_block(op, target)
    n, c, height, width = x.shape
    spec = LinearSpec(
        n, c, height, width, op.result.type.shape[1], (3, 3), pads=op["pads"], in_layout=f"NCHW{BLOCK}c",
        out_layout=f"NCHW{block}c", bias=True, ending=requantization(op, RESIDUAL, block),
    )  # fmt: skip
    return Layer(spec, op["tile"], one_quant(x)[1])


def result_block(op: Operator, target: Target) -> int:
    return BLOCK if op.result.type.quant is not None else thread_of(target).lanes


def refusal(op: Operator) -> str | None:
    """Why no kernel of a block of threads takes the operator, or None."""
    if any(constant_of(v) is None for v in op.operands[1:RESIDUAL]):
        return "needs constant weights"
    return None if op.result.type.elements else "empty tensors"


def combination(op: Operator, target: Target) -> Combination:
    layout = blocked(BLOCK)
    operands = (layout, *[ROW_MAJOR] * 4, *[layout] * (len(op.operands) - RESIDUAL))
    return operands, blocked(result_block(op, target))


def padded(values: Array, columns: int, dtype: Any) -> Array:
    """(positions, columns), zeros past the last; of a vector, too."""
    found = np.zeros((*values.shape[:-1], columns), dtype)
    found[..., : values.shape[-1]] = values
    return found


def constants(op: Operator, layer: Layer) -> dict[str, Constant]:
    """What all ways of computing it need but for the weights."""
    factors, bias = _constant(op.operands[2]), _constant(op.operands[4])
    scales = domain(op)[1]
    return {
        "factors": Constant(padded(factors, layer.channels, np.int32)),
        "scales": Constant(padded(scales, layer.filters, np.float32)),
        "bias": Constant(padded(bias, layer.filters, np.float32)),
        "parameters": Constant(result_parameters(op, RESIDUAL)),
    }


def domain(op: Operator) -> tuple[Array, Array]:
    """Weights (taps, M, C) and scales (taps, M) of an operator, which may be given filters."""
    return domain_weights(op, *(_constant(v) for v in op.operands[1:4]))


def weights_of(op: Operator) -> Array:
    return domain(op)[0]


def _constant(value: Any) -> Array:
    array = constant_of(value)
    assert array is not None, "applicable() was not asked"
    return array


def residual(op: Operator) -> list[Argument]:
    return [Operand(RESIDUAL)] if len(op.operands) > RESIDUAL else []


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
        return up(layer.v_bytes, ALIGNMENT) + layer.product_bytes

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

    def stages(self, op: Operator, target: Target) -> tuple[Stage, ...]:
        layer = layer_of(op, target)
        tile = products.tile_of(layer, target)
        assert tile is not None, "applicable() was not asked"
        known, v, p = constants(op, layer), Scratch(0), Scratch(up(layer.v_bytes, ALIGNMENT))
        weights = Constant(products.pack(layer, tile, weights_of(op)))
        ending = (known["bias"], known["parameters"], Result())
        return (
            Stage(input_kernel(layer), (Operand(0), known["factors"], v), macs=False),
            Stage(products.products_kernel(layer, tile, target), (v, weights, known["scales"], p)),
            Stage(output_kernel(layer), (*residual(op), p, *ending), macs=False),
        )

    def origin(self, op: Operator, target: Target) -> Origin | None:
        """Among the arguments of its kernels: data, factors; weights, scales; ..."""
        filters = _constant(op.operands[1])
        if filters.ndim != 4:
            return None
        layer = layer_of(op, target)
        tile = products.tile_of(layer, target)
        assert tile is not None, "applicable() was not asked"
        extents = (layer.positions, layer.filters, layer.channels)
        places = places_of(partial(products.arranged, layer, tile), extents)
        more = Bytes(_constant(op.operands[3]), layer.filters, layer.channels, factor_bytes=4)
        matrices = (byte_matrix(outputs) for outputs in layer.tile)
        return Origin(filters, *matrices, places, made=(2, 3), bytes=more, factors=1)


PRIMITIVES = (WinogradStaged(),)
