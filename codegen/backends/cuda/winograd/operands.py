"""A `q.winograd_conv`, as all ways of computing it by blocks of threads ask it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.graph import Operator
from secateur.ir.ops.linear import WORDS, one_quant
from secateur.ir.reference.winograd import domain_weights
from secateur.ir.types import ROW_MAJOR, blocked

from ....primitives.conv.int8_spec import LinearSpec
from ....primitives.operator import Argument, Combination, Constant, Operand, constant_of
from ....targets.target import Target
from ....vector.requantize import BLOCK, requantization, result_parameters
from ..thread import thread_of
from .layer import Layer

Array = NDArray[Any]
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
    if op["results"] == WORDS:
        return "results in words are for processors"
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
    factors, bias = constant(op.operands[2]), constant(op.operands[4])
    scales = domain(op)[1]
    return {
        "factors": Constant(padded(factors, layer.channels, np.int32)),
        "scales": Constant(padded(scales, layer.filters, np.float32)),
        "bias": Constant(padded(bias, layer.filters, np.float32)),
        "parameters": Constant(result_parameters(op, RESIDUAL)),
    }


def domain(op: Operator) -> tuple[Array, Array]:
    """Weights (taps, M, C) and scales (taps, M) of an operator, which may be given filters."""
    return domain_weights(op, *(constant(v) for v in op.operands[1:4]))


def weights_of(op: Operator) -> Array:
    return domain(op)[0]


def constant(value: Any) -> Array:
    array = constant_of(value)
    assert array is not None, "applicable() was not asked"
    return array


def residual(op: Operator) -> list[Argument]:
    return [Operand(RESIDUAL)] if len(op.operands) > RESIDUAL else []
