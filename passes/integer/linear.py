"""Convolutions and matrix products of quantized values: integer operators that are exact.

What an epilogue does to integers: constants per channel first (scales of the
weights, and the bias), then a residual, then limits; what follows is left to
an `nn.map` on a real result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secateur.ir.elementwise import Step, extra_operands
from secateur.ir.graph import Operator, Value, constant_of
from secateur.ir.rewrite import Array, Match, Op, Rule

from ..fuse.affine import channel_axis, per_channel
from .parts import REAL_RESULT, dequantized, known, need_bytes, need_limits, need_result, quantized_result
from .weights import (
    WEIGHTS_AXIS,
    Floats,
    Weights,
    coarser,
    need_scales,
    need_weights,
    root_name,
    scaled,
    weights_value,
)

LARGEST = 2**31 - 1
LINEAR = ("nn.conv", "nn.matmul")


@dataclass(frozen=True)
class Linear:
    """A convolution or matrix product in integers, and how much of the epilogue that covers."""

    x: Value
    weights: Weights
    bias: NDArray[np.int64]
    residual: Value | None
    steps: int


# The epilogue --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Affine:
    """Scale and shift of each channel that the first `steps` steps apply."""

    scale: Floats
    shift: Floats
    steps: int


def _then(affine: _Affine, name: str, c: Floats) -> _Affine | None:
    """The step `name` with constants `c` after `affine`; None for a step that is no scale or shift."""
    scale, shift, steps = affine.scale, affine.shift, affine.steps + 1
    with np.errstate(divide="ignore", invalid="ignore"):
        table = {
            "add": (scale, shift + c), "sub": (scale, shift - c), "rsub": (-scale, c - shift),
            "mul": (scale * c, shift * c), "div": (scale / c, shift / c),
        }  # fmt: skip
    return _Affine(*table[name], steps) if name in table else None


def _affine(op: Operator) -> _Affine:
    """The longest start of the epilogue that scales and shifts channels by constants."""
    shape, axis = op.result.type.shape, channel_axis(op)
    channels = shape[axis]
    found = _Affine(np.ones(channels), np.zeros(channels), 0)
    for step, extra in zip(op["epilogue"], op.operands[2:], strict=False):
        array = known(extra) if step.function.arity == 2 else None
        c = None if array is None else per_channel(array, shape, axis)
        longer = None if c is None else _then(found, step.op, c)
        if longer is None:
            break
        found = longer
    return found


def _residual(op: Operator, at: int) -> Value | None:
    """The quantized value of the result's shape that step `at` adds, if it does."""
    if op.name != "nn.conv" or op["epilogue"][at : at + 1] != (Step("add"),):
        return None
    stored = dequantized(op.operands[2 + at])
    return stored if stored is not None and stored.type.shape == op.result.type.shape else None


# Bias ----------------------------------------------------------------------------------------------


def _stored_bias(op: Operator) -> tuple[Array, Floats] | None:
    """Integers and scales of a bias that is all of the epilogue's scaling and came as i32, else None."""
    value = op.operands[2]
    while value.producer is not None and value.producer.name in ("nn.reshape", "q.dequantize"):
        value = value.producer.operands[0]
    stored, quant = constant_of(value), value.type.quant
    if stored is None or quant is None or stored.dtype != np.int32 or any(quant.zero_points):
        return None
    return stored.reshape(-1), np.array(quant.scales)


def _bias(op: Operator, affine: _Affine, unit: Floats) -> Floats:
    """The shift in whole steps of the sum, whose `unit` (one a channel) is input scale x weight scale.

    Integers that came with these very scales are kept: float32 would round large ones.
    """
    came = _stored_bias(op) if affine.steps == 1 and op["epilogue"][0] == Step("add") else None
    if came is not None and np.allclose(came[1], unit, rtol=1e-6, atol=0.0):
        return np.broadcast_to(came[0].astype(np.float64), unit.shape)
    return np.rint(affine.shift / unit)


def _need_sums(m: Match, op: Operator, linear: Linear) -> None:
    """Refuses where a sum might leave int32."""
    stored, axis = linear.weights.stored, WEIGHTS_AXIS[op.name]
    biases = np.abs(linear.bias)
    met = stored.size // stored.shape[axis]
    if met * 255 * 128 + biases.max(initial=0) <= LARGEST:
        return
    rest = tuple(i for i in range(stored.ndim) if i != axis)
    largest = 255 * np.abs(stored.astype(np.int64)).sum(axis=rest) + biases
    m.need(bool((largest <= LARGEST).all()), "a sum of products may not fit 32 bits", op)


# The operator --------------------------------------------------------------------------------------


def need_linear(m: Match, op: Operator) -> Linear:
    """`op` in integers; refuses where its data, weights or bias do not allow it."""
    x = need_bytes(m, op.operands[0], "input", op)
    m.need(op.name == "nn.conv" or x.type.rank == 2, "its left operand is no matrix", op)
    m.need(x.type.rank <= 4, "it has more than two spatial axes, for which there are no kernels", op)
    quant = x.type.quant
    assert quant is not None
    affine = _affine(op)
    weights = scaled(m, op, need_weights(m, op), affine.scale)
    scale = quant.scales[0]
    m.need(bool(np.isfinite(affine.shift).all()), "its bias is not finite", op)
    weights = coarser(op, weights, affine.shift, scale)
    need_scales(m, op, weights.scales)
    bias = _bias(op, affine, scale * weights.scales).astype(np.int64)
    residual = _residual(op, affine.steps)
    linear = Linear(x, weights, bias, residual, affine.steps + (residual is not None))
    _need_sums(m, op, linear)
    return linear


def integer_operator(m: Match, op: Operator, linear: Linear, result: dict[str, object]) -> Value:
    """The `q.` operator that computes `linear`."""
    window = {k: v for k, v in op.attributes.items() if k != "epilogue"}
    bias = m.constant(linear.bias.astype(np.int32), f"{root_name(op.operands[1])}.bias")
    x = _met_again(m, linear.x, linear.weights.again)
    operands = [x, weights_value(m, op, linear.weights), bias]
    operands += [linear.residual] if linear.residual is not None else []
    return m.new(op.name.replace("nn.", "q.linear_"), operands, **window, **result)


def _met_again(m: Match, x: Value, again: tuple[int, ...]) -> Value:
    """x with some of its channels once more behind the last."""
    if not again:
        return x
    places = m.constant(np.array(again, np.int64), "again")
    return m.new("nn.concat", [x, m.new("nn.gather", [x, places], axis=1)], axis=1)


def _guard_quantized(m: Match) -> None:
    quant, op = need_result(m), m.op("p")
    linear = need_linear(m, op)
    need_limits(m, op["epilogue"][linear.steps :], quant, op)


def _quantized(m: Match) -> Value:
    """quantize(p(dequantize(x), dequantize(w)) {+ bias, + dequantize(r), relu or clip})

       ->   linear_p(x, w, bias, r) {limits}

    where p is a convolution over one or two axes or a product of matrices, whose result has no other use; x,
    r and the result are u8 with one scale each, r of the result's shape (convolutions only); w is constant,
    i8 or u8, with one scale or one for each output channel; constants per channel that scale before the bias
    go to w's scales; no sum can leave 32 bits. The bias is rounded to steps of sx sw. Where w less its zero
    points has nine bits, the rest is weights of channels that follow x's others again (not in groups).
    """
    quant, op = need_result(m), m.op("p")
    linear = need_linear(m, op)
    limits = need_limits(m, op["epilogue"][linear.steps :], quant, op)
    return integer_operator(m, op, linear, quantized_result(quant, limits))


def _guard_real(m: Match) -> None:
    need_linear(m, m.root)


def _real(m: Match) -> Value:
    """p(dequantize(x), dequantize(w)) {+ bias, + dequantize(r), steps}

       ->   map(linear_p(x, w, bias, r) {dtype = f32}) {steps}

    where x, w, bias and r are as for a quantized result; no map where no steps follow.
    """
    op = m.root
    linear = need_linear(m, op)
    made = integer_operator(m, op, linear, REAL_RESULT)
    return mapped(m, made, op["epilogue"][linear.steps :], rest_operands(op, linear.steps))


def rest_operands(op: Operator, taken: int) -> list[Value]:
    """The epilogue's operands after `taken` steps."""
    return op.operands[2 + extra_operands(op["epilogue"][:taken]) :]


def mapped(m: Match, x: Value, steps: tuple[Step, ...], extras: list[Value]) -> Value:
    """`steps` as a map on x; x where there are none."""
    if not steps:
        return x
    shape = (1,) * (x.type.rank - 1) + x.type.shape[-1:]
    fitted = [m.new("nn.reshape", [v], shape=shape) if _row(v, x) else v for v in extras]
    return m.new("nn.map", [x, *fitted], epilogue=steps)


def _row(extra: Value, x: Value) -> bool:
    """Whether it is a matrix product's operand per channel, which a map wants with x's rank."""
    return extra.type.rank == 1 and extra.type.elements > 1 and x.type.rank == 2


QUANTIZED: tuple[Rule, ...] = (
    Rule("integer-linear", Op("q.quantize", (Op(LINEAR, (), "p", once=True),)), _guard_quantized, _quantized),
)
REAL: tuple[Rule, ...] = (Rule("integer-linear-real", Op(LINEAR), _guard_real, _real),)
