"""8-bit convolutions as operators: from `q.linear_conv` to the specification that the kernels take."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from secateur.ir.graph import Operator
from secateur.ir.ops.linear import one_quant
from secateur.ir.types import ROW_MAJOR, Layout

from ..kernel import Kernel
from ..targets import Target
from .conv_direct import DIRECT
from .conv_grouped import GROUPED
from .conv_pointwise import POINTWISE
from .linear_finish import LinearSpec, starts
from .operator import Argument, Combination, Constant, Operand, Primitive, constant_of
from .requantize import BLOCK, padded_multipliers, requantization, result_parameters

_RESIDUAL = 3  # its place among the operands


def linear_spec(op: Operator) -> LinearSpec:
    """Of a 2-D `q.linear_conv`, with the layouts that its types carry."""
    n, c, h, w = op.operands[0].type.shape
    kernel, layout = op.operands[1].type.shape[2:], op.result.type.layout
    zero = one_quant(op.operands[0].type)[1]
    return LinearSpec(
        n, c, h, w, op.result.type.shape[1], (kernel[0], kernel[1]), op["strides"], op["pads"],
        op["dilations"], op["groups"], in_layout=op.operands[0].type.layout.name, out_layout=layout.name,
        border=zero != 0 and any(op["pads"]), ending=requantization(op, _RESIDUAL, layout.block),
    )  # fmt: skip


def refusal(op: Operator) -> str | None:
    """Why no kernel of 2-D images with constant weights takes the operator, or None."""
    rank = op.operands[0].type.rank
    if rank != 4:
        return f"needs an image, has an input of rank {rank}"
    if any(constant_of(v) is None for v in op.operands[1:_RESIDUAL]):
        return "needs constant weights and bias"
    return "empty tensors" if not all(v.type.elements for v in (*op.operands, *op.results)) else None


class LinearConvolution(Primitive):
    """`q.linear_conv` by a primitive of specifications."""

    operators = ("linear_conv",)

    def __init__(self, primitive: Any) -> None:
        self.primitive = primitive
        self.name = primitive.name

    def applicable(self, op: Operator, target: Target) -> str | None:
        reason = refusal(op)
        if reason or self._offered(op, target):
            return reason
        spec = linear_spec(op)
        return str(self.primitive.applicable(_laid_out(spec, spec.blocked_layouts(target)), target))

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        return tuple(_combination(op, pair) for pair in self._offered(op, target))

    def workspace(self, op: Operator, target: Target) -> int:
        return max(int(self.primitive.workspace(s, target)) for s in self._specs(op, target))

    def estimate(self, op: Operator, target: Target) -> float:
        return min(float(self.primitive.estimate(s, target)) for s in self._specs(op, target))

    def arguments(self, op: Operator, target: Target) -> tuple[Argument, ...]:
        spec, weights, bias = linear_spec(op), *map(constant_of, op.operands[1:_RESIDUAL])
        if weights is None or bias is None:
            raise ValueError(f"{op!r}: weights and bias are not constant")
        constants = (
            *self.primitive.pack(spec, target, weights, None),
            starts(spec, weights, bias, one_quant(op.operands[0].type)[1]),
            padded_multipliers(op),
            result_parameters(op, _RESIDUAL),
        )
        residual = [Operand(_RESIDUAL)] if spec.ending.residual else []
        return (Operand(0), *residual, *map(Constant, constants))

    def kernel(self, op: Operator, target: Target) -> Kernel:
        kernel: Kernel = self.primitive.kernel(linear_spec(op), target)
        return kernel

    def _specs(self, op: Operator, target: Target) -> list[LinearSpec]:
        return [_laid_out(linear_spec(op), pair) for pair in self._offered(op, target)]

    def _offered(self, op: Operator, target: Target) -> list[tuple[str, str]]:
        """The primitive's layout combinations that it does not refuse."""
        spec = linear_spec(op)
        pairs = self.primitive.layouts(spec, target)
        return [p for p in pairs if self.primitive.applicable(_laid_out(spec, p), target) is None]


def _laid_out(spec: LinearSpec, pair: tuple[str, str]) -> LinearSpec:
    return replace(spec, in_layout=pair[0], out_layout=pair[1])


def _combination(op: Operator, pair: tuple[str, str]) -> Combination:
    extras = (Layout(f"NCHW{BLOCK}c"),) * (len(op.operands) - _RESIDUAL)
    return (Layout(pair[0]), ROW_MAJOR, ROW_MAJOR, *extras), Layout(pair[1])


PRIMITIVES = tuple(map(LinearConvolution, (DIRECT, POINTWISE, GROUPED)))
