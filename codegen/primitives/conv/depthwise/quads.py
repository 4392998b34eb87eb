"""8-bit depthwise convolution by AVX512-VNNI: four kernel rows to an instruction, four pixels to a vector.

A vector of input is four pixels of one block of channels, a pixel to each 128-bit
lane. Interleaving the bytes of up to four input rows within the lanes gives, for
each of four groups of four channels, a vector whose 32-bit elements hold one column
of the window: one product sums them. Neighbouring columns are the same vectors moved
by whole lanes. Sums are packed back within their lanes, where they were. What is
done once for a column of pixels serves every column of the window.

Kernel rows outside the image have weights of zero, in a copy of the weights for each
such set of rows; columns outside the image hold the zero point.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from secateur.codegen.kernel import Kernel
from secateur.codegen.targets.isa import VNNI
from secateur.codegen.targets.target import Target
from secateur.codegen.vector.requantize import BLOCK, padded_multipliers
from secateur.ir.graph import Operator
from secateur.ir.ops.linear import channel_multipliers, one_quant
from secateur.ir.types import ROW_MAJOR, Layout

from ....rounding import up
from ...operator import Argument, Array, Combination, Constant, Operand, Primitive, constant_of
from ...specs import seconds
from ..linear_operators import linear_spec, refusal
from .interleave import PIXELS, QuadSpec, build, quads
from .rows import packed_rows

_MOST_ROWS = 11  # of a kernel


def quad_spec(op: Operator) -> QuadSpec:
    low, high = op["limits"]
    return QuadSpec(linear_spec(op), _bounded(op), one_quant(op.result.type)[1] != 0, low > 0, high < 255)


def _bounded(op: Operator) -> bool:
    """Whether the largest sums that the weights allow, in steps of the result, are far from int32's ends."""
    weights, bias = (constant_of(v) for v in op.operands[1:3])
    assert weights is not None, "applicable() was not asked"
    assert bias is not None, "applicable() was not asked"
    largest = 255.0 * np.abs(weights.astype(np.float64)).sum((1, 2, 3)) + np.abs(bias.astype(np.float64))
    return bool((largest * channel_multipliers(op)).max() < 1 << 30)


class DepthwiseQuads(Primitive):
    """u8 in and out, blocks of 16; windows that span at most five steps of the stride."""

    name = "depthwise_quads"
    operators = ("linear_conv",)

    def applicable(self, op: Operator, target: Target) -> str | None:
        reason = refusal(op)
        if reason:
            return reason
        if target.isa.dot != VNNI:
            return "needs AVX512-VNNI"
        spec = linear_spec(op)
        if not spec.groups == spec.channels == spec.filters:
            return f"{spec.groups} groups of {spec.channels} channels and {spec.filters} filters"
        if spec.ending.residual or spec.ending.result != "uint8":
            return "has a residual or a real result"
        if spec.kernel[0] > _MOST_ROWS:
            return f"a kernel of {spec.kernel[0]} rows takes too much code"
        reach = (spec.kernel[1] - 1) * spec.dilations[1] // spec.strides[1]
        return "wide windows or strides" if reach > PIXELS or spec.strides[1] > 2 else None

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        layout = Layout(f"NCHW{BLOCK}c")
        return (((layout, ROW_MAJOR, ROW_MAJOR), layout),)

    def estimate(self, op: Operator, target: Target) -> float:
        spec = linear_spec(op)
        results = spec.batch * up(spec.out_width, PIXELS) * spec.out_height * up(spec.channels, BLOCK)
        operations = (24 + 4 * quads(spec) * (spec.kernel[1] + 4 * spec.strides[1])) / PIXELS
        return seconds(target, results * operations, 0.8, float(results)) + 1e-6

    def arguments(self, op: Operator, target: Target) -> tuple[Argument, ...]:
        return (Operand(0), *map(Constant, _packed(op)))

    def kernel(self, op: Operator, target: Target) -> Kernel:
        spec = quad_spec(op)
        tasks = spec.conv.batch * up(spec.conv.channels, BLOCK) // BLOCK * spec.conv.out_height
        return Kernel("linear_depthwise_quads", spec, partial(build, spec), tasks)


def _packed(op: Operator) -> tuple[Array, ...]:
    """Number of each output row's set; weights and starts for each set; multipliers; parameters."""
    zero, result_zero, (low, high) = (
        one_quant(op.operands[0].type)[1],
        one_quant(op.result.type)[1],
        op["limits"],
    )
    parameters = np.array([high - result_zero, zero, result_zero, low, high], np.float32)
    return *packed_rows(op, zero), padded_multipliers(op), parameters


PRIMITIVES: tuple[Primitive, ...] = (DepthwiseQuads(),)
