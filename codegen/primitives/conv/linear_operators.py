"""8-bit convolutions as operators: `q.linear_conv`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from secateur.ir.graph import Operator
from secateur.ir.ops.linear import one_quant
from secateur.ir.types import ROW_MAJOR, Layout

from ...kernel import Kernel
from ...targets.target import Target
from ...vector.requantize import BLOCK, on_target, padded_multipliers, requantization, result_parameters
from ..operator import Argument, Array, Combination, Constant, Operand, constant_of, workspace_limit
from .adapter import AdjustableAdapter, window
from .int8_spec import LinearSpec, starts

_RESIDUAL = 3  # its place among the operands


def linear_spec(op: Operator) -> LinearSpec:
    """Of a 1-D or 2-D `q.linear_conv`, with the layouts of its types."""
    zero, block = one_quant(op.operands[0].type)[1], op.result.type.layout.block
    return LinearSpec(
        **window(op),
        border=zero != 0 and any(op["pads"]),
        ending=requantization(op, _RESIDUAL, block),
        workspace_limit=workspace_limit(op),
    )


def refusal(op: Operator, ranks: tuple[int, ...] = (4,)) -> str | None:
    """Why no kernel of inputs of these ranks with constant weights takes the operator, or None."""
    rank = op.operands[0].type.rank
    if rank not in ranks:
        return f"an input of rank {rank}"
    if any(constant_of(v) is None for v in op.operands[1:_RESIDUAL]):
        return "needs constant weights and bias"
    return "empty tensors" if not all(v.type.elements for v in (*op.operands, *op.results)) else None


class LinearConvolution(AdjustableAdapter[LinearSpec]):
    """`q.linear_conv` by a primitive of specifications."""

    operators = ("linear_conv",)

    def refusal(self, op: Operator) -> str | None:
        return refusal(op, (3, 4))

    def spec(self, op: Operator) -> LinearSpec:
        return linear_spec(op)

    def combination(self, op: Operator, source: Layout, result: Layout) -> Combination:
        extras = (Layout(f"NCHW{BLOCK}c"),) * (len(op.operands) - _RESIDUAL)
        return (source, ROW_MAJOR, ROW_MAJOR, *extras), result

    def arguments(self, op: Operator, target: Target) -> tuple[Argument, ...]:
        spec, weights, bias = self.spec(op), *map(constant_of, op.operands[1:_RESIDUAL])
        if weights is None or bias is None:
            raise ValueError(f"{op!r}: weights and bias are not constant")
        weights = weights.reshape(*weights.shape[:2], *spec.kernel)
        constants = (
            *self.primitive.pack(spec, target, weights, None),
            *self.starts(spec, weights, bias, one_quant(op.operands[0].type)[1]),
            padded_multipliers(op),
            result_parameters(op, _RESIDUAL),
        )
        residual = [Operand(_RESIDUAL)] if spec.ending.residual else []
        return (Operand(0), *residual, *map(Constant, constants))

    def starts(self, spec: LinearSpec, weights: Array, bias: Array, zero_point: int) -> tuple[Array, ...]:
        """The constants between weights and multipliers: where sums start."""
        return (starts(spec, weights, bias, zero_point),)

    def kernel(self, op: Operator, target: Target) -> Kernel:
        spec = self.spec(op)
        ending = on_target(spec.ending, op, _RESIDUAL, target)
        kernel: Kernel = self.primitive.kernel(replace(spec, ending=ending), target)
        return kernel


class PaddingConvolution(LinearConvolution):
    """By a primitive that copies padding: a block of it is a constant, and all sums start alike."""

    def starts(self, spec: LinearSpec, weights: Array, bias: Array, zero_point: int) -> tuple[Array, ...]:
        padding = np.full(BLOCK, zero_point, np.uint8)
        return (padding, *super().starts(spec.unbordered(), weights, bias, zero_point))
