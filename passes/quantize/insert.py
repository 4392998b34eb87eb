"""Pairs of quantize and dequantize put around the operators of a plan; the graph stays one of floats.

    conv(x, w, b)   ->   conv(dequantize(quantize(x)), dequantize(w: i8), dequantize(b: i32))

Weights are rounded to [-127, 127], or [-63, 63] where a reduced range is asked
for, with one scale for each output channel, the bias to steps of input scale x
weight scale. The graph is also what a QDQ model
in ONNX holds; the rules of `passes/integer/integer.py` turn it into integer operators.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.elementwise import Step
from secateur.ir.graph import Graph, Operator, Value, constant_of
from secateur.ir.ops.quantize import quant_attributes
from secateur.ir.registry import create
from secateur.ir.types import DType, Quant

from ..fuse.affine import bias_of, channel_axis
from .options import USUAL, WeightForm
from .plan import Plan

Floats = NDArray[np.float64]

LARGEST_BIAS = 2.0**30
LEAST_SCALE = 2.0**-100
QUANTIZED = "_quantized"
"""What the name of a stored value ends in, after the name of the real one."""


@dataclass(frozen=True)
class Weights:
    """i8 in [-127, 127] shaped as the real weights, one float32 scale for each index of `axis`."""

    stored: NDArray[np.int8]
    scales: NDArray[np.float32]
    axis: int

    @property
    def quant(self) -> Quant:
        return Quant(tuple(map(float, self.scales)), (0,) * len(self.scales), self.axis)

    @property
    def real(self) -> Floats:
        """What the stored integers stand for."""
        shape = [1] * self.stored.ndim
        shape[self.axis] = -1
        return self.stored.astype(np.float64) * self.scales.astype(np.float64).reshape(shape)


def weights_axis(op: Operator) -> int:
    """The axis of a linear operator's weights that numbers its output channels."""
    return 1 if op.name == "nn.matmul" else 0


def round_weights(op: Operator, input_scale: float, bias: Floats, form: WeightForm = USUAL) -> Weights:
    """The nearest weights of the form; scales are no smaller than lets the bias fit 31 bits."""
    real, axis = constant_of(op.operands[1]), weights_axis(op)
    assert real is not None, "a planned operator's weights are constant"
    real = real.astype(np.float64)
    others = tuple(i for i in range(real.ndim) if i != axis)
    least = np.maximum(np.abs(bias) / (input_scale * LARGEST_BIAS), LEAST_SCALE)
    scales = np.maximum(np.abs(real).max(axis=others, initial=0.0) / form.largest, least).astype(np.float32)
    if form.matrix_scale and op.name == "nn.matmul":
        scales = np.full_like(scales, scales.max(initial=0.0))
    shape = [-1 if i == axis else 1 for i in range(real.ndim)]
    steps = np.rint(real / scales.astype(np.float64).reshape(shape))
    return Weights(np.clip(steps, -form.largest, form.largest).astype(np.int8), scales, axis)


Rounder = Callable[[Operator, float, Floats], Weights]
"""Rounds the weights of an operator, by its input's scale and its real bias."""


def real_bias(op: Operator) -> Floats:
    """The constant bias of a linear operator for each channel; zeros where it has none."""
    found = bias_of(op)
    channels = op.result.type.shape[channel_axis(op)]
    return np.zeros(channels) if found is None else np.asarray(found, np.float64)


def _constant(array: NDArray[Any], quant: Quant, name: str) -> Operator:
    op = create("nn.constant", [], {"value": np.ascontiguousarray(array)})
    op.result.type, op.result.name = replace(op.result.type, quant=quant), name
    return op


def _dequantized(constant: Operator) -> list[Operator]:
    return [constant, create("q.dequantize", [constant.result])]


def _quantized_weights(op: Operator, weights: Weights) -> list[Operator]:
    return _dequantized(_constant(weights.stored, weights.quant, op.operands[1].name))


def _quantized_bias(op: Operator, weights: Weights, input_scale: float, bias: Floats) -> list[Operator]:
    """The bias as i32 behind a dequantize, in the shape that the epilogue adds."""
    unit = np.float32(input_scale).astype(np.float64) * weights.scales.astype(np.float64)
    unit = np.maximum(unit, LEAST_SCALE).astype(np.float32)
    stored = np.rint(bias / unit.astype(np.float64)).astype(np.int32)
    quant = Quant(tuple(map(float, unit)), (0,) * len(unit), 0 if op.name == "nn.matmul" else 1)
    shape = (-1,) if op.name == "nn.matmul" else (1, -1, *[1] * (op.result.type.rank - 2))
    return _dequantized(_constant(stored.reshape(shape), quant, f"{op.operands[1].name}.bias"))


def _round_linear(
    graph: Graph, op: Operator, input_scale: float, correction: Floats | None, rounder: Rounder
) -> None:
    """Gives the operator rounded weights, and a bias corrected and rounded."""
    bias, had = real_bias(op), bias_of(op) is not None
    bias = bias if correction is None else bias + correction
    weights = rounder(op, input_scale, bias)
    made, extras = _quantized_weights(op, weights), op.operands[2 + had :]
    values, steps = [made[-1].result], op["epilogue"][had:]
    if bias.any():
        made += _quantized_bias(op, weights, input_scale, bias)
        values, steps = [*values, made[-1].result], (Step("add"), *steps)
    new = create(op.name, [op.operands[0], *values, *extras], {**op.attributes, "epilogue": steps}, op.loc)
    new.result.name = op.result.name
    graph.insert_before(op, [*made, new])
    graph.replace_value(op.result, new.result)
    graph.erase(op)


def _insert_pair(graph: Graph, plan: Plan, value: Value, quant: Quant, name: str) -> None:
    """Users read `value` quantized and dequantized; where its producer stays float, planned users alone."""
    attributes = {"dtype": DType.U8, **quant_attributes(quant)}
    loc = value.producer.loc if value.producer is not None else ""
    stored = create("q.quantize", [value], attributes, loc)
    real = create("q.dequantize", [stored.result], loc=loc)
    stored.result.name, real.result.name = f"{name}{QUANTIZED}", f"{name}_dequantized"
    integer = value.producer in plan.kinds
    for user in dict.fromkeys(value.users):
        if user is not stored and (integer or user in plan.kinds):
            user.operands = [real.result if v is value else v for v in user.operands]
    if integer:
        graph.outputs = [real.result if v is value else v for v in graph.outputs]
    at = graph.operators.index(value.producer) + 1 if value.producer is not None else 0
    graph.operators[at:at] = [stored, real]


def insert_pairs(graph: Graph, plan: Plan, quants: Mapping[Value, Quant], names: Mapping[Value, str]) -> None:
    """Puts the pairs of the planned values in place; weights stay floats."""
    for value in plan.values:
        _insert_pair(graph, plan, value, quants[value], names[value])


def insert(
    graph: Graph,
    plan: Plan,
    quants: Mapping[Value, Quant],
    corrections: Mapping[Operator, Floats],
    names: Mapping[Value, str],
    rounder: Rounder = round_weights,
) -> None:
    """Puts the pairs in place; `corrections` are added to the bias of linear operators."""
    linear: Sequence[Operator] = [op for op, kind in plan.kinds.items() if kind == "linear"]
    inputs = {op: op.operands[0] for op in linear}
    insert_pairs(graph, plan, quants, names)
    for op in linear:
        _round_linear(graph, op, quants[inputs[op]].scales[0], corrections.get(op), rounder)
