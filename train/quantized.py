"""Quantization-aware fine-tuning: a float network learns while it computes as its 8-bit form will.

Activations pass pairs of quantize and dequantize where the pass `quantize` puts them, with ranges that
calibration chose once; weights and biases are rounded as `round_weights` rounds them, with
scales of what they are at that step. Gradients pass roundings as if there were none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..ir.errors import SecateurError
from ..ir.graph import Graph, Operator
from ..passes.fuse.affine import bias_of
from ..passes.quantize.calibrate import CalibrationData, calibrate, quantizations
from ..passes.quantize.calibration.ranges import Ranges
from ..passes.quantize.calibration.statistics import value_names
from ..passes.quantize.insert import LARGEST_BIAS, LEAST_SCALE, insert_pairs, weights_axis
from ..passes.quantize.maker import float_operators, prepare
from ..passes.quantize.options import Options
from ..passes.quantize.plan import make_plan
from .learned import constants
from .network import Network
from .operators import Step, step_of
from .operators.quantize import rounded


@dataclass(frozen=True, eq=False)
class Aware:
    """A network that computes as in 8 bits, and the float graph that it is the 8-bit form of.

    After training, `learned()` is quantized with `ranges` and without bias correction: then
    it computes what the network learned to compute.
    """

    network: Network
    prepared: Graph
    ranges: Ranges

    @classmethod
    def of(cls, graph: Graph, data: CalibrationData, options: Options) -> Aware:
        """For a float graph as `quantize` takes it (fused, say); SecateurError where that would refuse."""
        if options.equalize:
            raise SecateurError("channels are balanced before a network learns in 8 bits (pass equalize)")
        prepared = prepare(graph, options)
        ranges = calibrate(prepared, data, options.method, options.percent, equalized=False).ranges
        pairs = prepared.clone()
        plan = make_plan(pairs, float_operators(pairs, options.keep_float))
        insert_pairs(pairs, plan, quantizations(pairs, plan, ranges), value_names(pairs))
        linear = {op for op, kind in plan.kinds.items() if kind == "linear"}
        numbers = {number for number, op in enumerate(pairs.operators) if op in linear}
        return cls(Network(pairs, _Steps(numbers, options.largest_weight)), prepared, ranges)

    def learned(self) -> Graph:
        """The float graph with what the network learned."""
        copy = self.prepared.clone()
        for op, learned in zip(constants(copy), constants(self.network.graph()), strict=True):
            op.attributes = {**op.attributes, "value": learned["value"]}
        return copy


@dataclass(frozen=True)
class _Steps:
    """Steps of a graph's operators; those of these numbers have rounded weights and biases."""

    numbers: set[int]
    largest: int

    def __call__(self, op: Operator, number: int) -> Step:
        return _in_bytes(op, self.largest) if number in self.numbers else step_of(op)


def _in_bytes(op: Operator, largest: int) -> Step:
    step, axis, has_bias = step_of(op), weights_axis(op), bias_of(op) is not None
    x = op.operands[0].producer
    assert x is not None, "a planned operator reads what a dequantize makes"
    quant = x.operands[0].type.quant
    assert quant is not None
    scale = float(quant.scales[0])

    def rounding(tensors: Sequence[Tensor], training: bool) -> Tensor:
        x, w, *extras = tensors
        bias = extras[0] if has_bias else None
        scales = _scales(w, axis, largest, scale, bias)
        if bias is not None:
            extras[0] = _rounded_bias(bias, scales, scale, w.ndim - 2)
        return step([x, _rounded_weights(w, axis, scales), *extras], training)

    return rounding


def _scales(w: Tensor, axis: int, largest: int, input_scale: float, bias: Tensor | None) -> Tensor:
    """One scale for each output channel, large enough that the bias fits."""
    with torch.no_grad():
        found = w.abs().amax([a for a in range(w.ndim) if a != axis]) / largest
        if bias is not None:
            found = torch.maximum(found, bias.reshape(-1).abs() / (input_scale * LARGEST_BIAS))
        return found.clamp(min=LEAST_SCALE)


def _rounded_weights(w: Tensor, axis: int, scales: Tensor) -> Tensor:
    """In steps of its channel's scale, of which none is larger than the scale allows."""
    along = scales.reshape([-1 if a == axis else 1 for a in range(w.ndim)])
    return rounded(w / along) * along


def _rounded_bias(bias: Tensor, scales: Tensor, input_scale: float, spatial: int) -> Tensor:
    """In steps of input scale x weight scale, one for each channel, in the shape that is added."""
    unit = (input_scale * scales).clamp(min=LEAST_SCALE)
    real = rounded(bias.reshape(-1).expand(len(unit)) / unit) * unit
    return real.reshape([1, -1, *[1] * spatial]) if spatial else real
