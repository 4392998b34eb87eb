"""8-bit convolutions as operators: from `q.linear_conv` to the specification that the kernels take."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from secateur.ir.graph import Operator
from secateur.ir.ops.linear import one_quant
from secateur.ir.types import ROW_MAJOR, Layout

from ...kernel import Kernel
from ...targets.target import Target
from ...vector.requantize import BLOCK, on_target, padded_multipliers, requantization, result_parameters
from ..operator import (
    Adjustable,
    Argument,
    Combination,
    Constant,
    Cost,
    Operand,
    constant_of,
    workspace_limit,
)
from ..specs import pair
from .depthwise.lanes import DEPTHWISE
from .direct import DIRECT
from .grouped import GROUPED
from .int8_spec import LinearSpec, starts
from .plan import costs_of
from .pointwise import POINTWISE

_RESIDUAL = 3  # its place among the operands


def linear_spec(op: Operator) -> LinearSpec:
    """Of a 1-D or 2-D `q.linear_conv`, with the layouts of its types; a row is an image of height 1."""
    n, c, *size = op.operands[0].type.shape
    kernel, layout = op.operands[1].type.shape[2:], op.result.type.layout
    zero, pads, half = one_quant(op.operands[0].type)[1], op["pads"], len(size)
    return LinearSpec(
        n, c, *pair(size, 1), op.result.type.shape[1], pair(kernel, 1), pair(op["strides"], 1),
        (*pair(pads[:half], 0), *pair(pads[half:], 0)), pair(op["dilations"], 1), op["groups"],
        in_layout=op.operands[0].type.layout.name, out_layout=layout.name,
        border=zero != 0 and any(op["pads"]), ending=requantization(op, _RESIDUAL, layout.block),
        workspace_limit=workspace_limit(op),
    )  # fmt: skip


def refusal(op: Operator, ranks: tuple[int, ...] = (4,)) -> str | None:
    """Why no kernel of inputs of these ranks with constant weights takes the operator, or None."""
    rank = op.operands[0].type.rank
    if rank not in ranks:
        return f"an input of rank {rank}"
    if any(constant_of(v) is None for v in op.operands[1:_RESIDUAL]):
        return "needs constant weights and bias"
    return "empty tensors" if not all(v.type.elements for v in (*op.operands, *op.results)) else None


class LinearConvolution(Adjustable):
    """`q.linear_conv` by a primitive of specifications."""

    operators = ("linear_conv",)

    def __init__(self, primitive: Any) -> None:
        self.primitive = primitive
        self.name = primitive.name

    def applicable(self, op: Operator, target: Target) -> str | None:
        reason = refusal(op, (3, 4))
        if reason or self._offered(op, target):
            return reason
        spec = linear_spec(op)
        return str(self.primitive.applicable(_laid_out(spec, spec.blocked_layouts(target)), target))

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        return tuple(_combination(op, pair) for pair in self._offered(op, target))

    def costs(self, op: Operator, target: Target) -> tuple[Cost, ...]:
        return costs_of(self.primitive, self._specs(op, target), target)

    def arguments(self, op: Operator, target: Target) -> tuple[Argument, ...]:
        spec, weights, bias = linear_spec(op), *map(constant_of, op.operands[1:_RESIDUAL])
        if weights is None or bias is None:
            raise ValueError(f"{op!r}: weights and bias are not constant")
        weights = weights.reshape(*weights.shape[:2], *spec.kernel)
        constants = (
            *self.primitive.pack(spec, target, weights, None),
            starts(spec, weights, bias, one_quant(op.operands[0].type)[1]),
            padded_multipliers(op),
            result_parameters(op, _RESIDUAL),
        )
        residual = [Operand(_RESIDUAL)] if spec.ending.residual else []
        return (Operand(0), *residual, *map(Constant, constants))

    def kernel(self, op: Operator, target: Target) -> Kernel:
        spec = linear_spec(op)
        ending = on_target(spec.ending, op, _RESIDUAL, target)
        kernel: Kernel = self.primitive.kernel(replace(spec, ending=ending), target)
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


PRIMITIVES = tuple(map(LinearConvolution, (DIRECT, POINTWISE, GROUPED, DEPTHWISE)))
