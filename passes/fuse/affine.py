"""Folding of per-channel scale and shift into the weights and bias of a linear operator.

Linear operators are `nn.conv`, `nn.conv_transpose` and `nn.matmul`. Arithmetic
on weights is done in float64 and rounded once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from secateur.ir.elementwise import Step
from secateur.ir.graph import Operator, Value, constant_of
from secateur.ir.rewrite import Any_, Array, Const, Match, Op, Rule

LINEAR = ("nn.conv", "nn.conv_transpose", "nn.matmul")
BIAS = Step("add")


# Channels ------------------------------------------------------------------------------------------


def channel_axis(op: Operator) -> int:
    """The axis of the operator's result along which it has one bias each."""
    return op.result.type.rank - 1 if op.name == "nn.matmul" else 1


def channel_shape(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """The shape of a per-channel operand of a result of `shape`: (1, C, 1, 1)."""
    return tuple(d if i == axis else 1 for i, d in enumerate(shape))


def per_channel(array: Array, shape: tuple[int, ...], axis: int) -> Array | None:
    """One float64 for each index of `axis` where `array` broadcast to `shape` varies along `axis` alone."""
    if array.ndim > len(shape):
        return None
    aligned = (1,) * (len(shape) - array.ndim) + array.shape
    if any(d != 1 and (i != axis or d != shape[axis]) for i, d in enumerate(aligned)):
        return None
    return np.broadcast_to(array.reshape(-1), (shape[axis],)).astype(np.float64)


def scale_outputs(op: Operator, weights: Array, scale: Array) -> Array:
    """Weights whose result is `scale` (one for each result channel) times the old result."""
    if op.name == "nn.conv":
        return weights * scale.reshape(-1, *[1] * (weights.ndim - 1))
    if op.name == "nn.matmul":
        return weights * scale
    g, (c, m, *taps) = op["groups"], weights.shape
    return (weights.reshape(g, c // g, m, *taps) * scale.reshape(g, 1, m, *[1] * len(taps))).reshape(
        weights.shape
    )


def scale_inputs(op: Operator, weights: Array, scale: Array) -> Array:
    """Weights whose result on x is the old result on `scale` (one for each input channel) times x."""
    if op.name != "nn.conv":
        return weights * scale.reshape(-1, *[1] * (weights.ndim - 1))
    g, (m, c, *taps) = op["groups"], weights.shape
    return (weights.reshape(g, m // g, c, *taps) * scale.reshape(g, 1, c, *[1] * len(taps))).reshape(
        weights.shape
    )


def shift_of_inputs(op: Operator, weights: Array, shift: Array) -> Array:
    """What `shift` (one for each input channel) adds to each result channel of an unpadded operator."""
    moved = scale_inputs(op, weights.astype(np.float64), shift)
    summed: Array = moved.sum(axis=0 if op.name == "nn.matmul" else tuple(range(1, moved.ndim)))
    return summed


# The linear operator and its bias ------------------------------------------------------------------


def bias_of(op: Operator) -> Array | None:
    """The constant per-channel operand of a leading `add` of the epilogue, one float64 a channel."""
    if op["epilogue"][:1] != (BIAS,):
        return None
    array = constant_of(op.operands[2])
    return None if array is None else per_channel(array, op.result.type.shape, channel_axis(op))


def need_constant_weights(m: Match, op: Operator) -> Array:
    """The weights; refuses where they are no float constant or, for a matmul, no matrix on the right."""
    weights = constant_of(op.operands[1])
    m.need(weights is not None, "its weights are not constant", op)
    assert weights is not None
    m.need(op.result.type.dtype.is_float, "its weights are not floats", op)
    plain = op.name != "nn.matmul" or (weights.ndim == 2 and op.operands[0].type.rank >= 2)
    m.need(plain, "its right operand is no matrix", op)
    return weights


def need_bias_only(m: Match, op: Operator) -> None:
    """Refuses where the epilogue holds more than a constant bias."""
    only_bias = op["epilogue"] == (BIAS,) and bias_of(op) is not None
    m.need(not op["epilogue"] or only_bias, "its epilogue already holds steps other than a constant bias", op)


def _rebuilt(m: Match, op: Operator, x: Value, weights: Array, bias: Array | None) -> Value:
    """The operator on other weights and bias; steps of its epilogue after the bias stay."""
    had_bias = bias_of(op) is not None
    steps, extras = op["epilogue"][had_bias:], op.operands[2 + had_bias :]
    dtype = op.result.type.dtype.numpy
    kept = constant_of(op.operands[1]) is weights
    operands = [x, op.operands[1] if kept else m.constant(weights.astype(dtype), op.operands[1].name)]
    if bias is not None:
        operands.append(m.constant(_bias_array(op, bias.astype(dtype)), f"{op.operands[1].name}.bias"))
        steps = (BIAS, *steps)
    attributes: dict[str, Any] = {**op.attributes, "epilogue": steps}
    return m.new(op.name, [*operands, *extras], **attributes)


def _bias_array(op: Operator, bias: Array) -> Array:
    return bias if op.name == "nn.matmul" else bias.reshape(1, -1, *[1] * (op.result.type.rank - 2))


def fold_after(m: Match, op: Operator, scale: Array, shift: Array) -> Value:
    """`scale` times the operator's result plus `shift`, as one operator."""
    weights = constant_of(op.operands[1])
    assert weights is not None
    old = bias_of(op)
    bias = shift if old is None else old * scale + shift
    if (scale != 1.0).any():
        weights = scale_outputs(op, weights.astype(np.float64), scale)
    return _rebuilt(m, op, op.operands[0], weights, bias if old is not None or shift.any() else None)


def fold_before(m: Match, op: Operator, x: Value, scale: Array, shift: Array) -> Value:
    """The operator on `scale` times x plus `shift`, as one operator on x."""
    weights = constant_of(op.operands[1])
    assert weights is not None
    bias = bias_of(op)
    if shift.any():
        bias = shift_of_inputs(op, weights, shift) + (0.0 if bias is None else bias)
    if (scale != 1.0).any():
        weights = scale_inputs(op, weights.astype(np.float64), scale)
    return _rebuilt(m, op, x, weights, bias)


# Scale and shift of the element-wise side ----------------------------------------------------------

Affine = tuple[Array, Array]


def batch_norm_affine(op: Operator) -> Affine | None:
    """Scale and shift of a batch norm with constant parameters, else None."""
    arrays = [constant_of(v) for v in op.operands[1:]]
    if any(a is None for a in arrays):
        return None
    gamma, beta, mean, variance = (np.asarray(a, np.float64) for a in arrays)
    with np.errstate(all="ignore"):
        scale = gamma / np.sqrt(variance + op["epsilon"])
    return scale, beta - mean * scale


def _constant_affine(op: Operator, constant: Array, swapped: bool, axis: int) -> Affine | None:
    """Scale and shift of `x (op) c`, or `c (op) x` where swapped; None where c varies beyond `axis`."""
    shape = op.result.type.shape
    c = per_channel(constant, shape, axis)
    if c is None:
        return None
    one, zero = np.ones_like(c), np.zeros_like(c)
    with np.errstate(divide="ignore"):
        table = {"add": (one, c), "mul": (c, zero), "div": (1 / c, zero), "sub": (one, -c)}
    return (-one, c) if swapped and op.name == "nn.sub" else table[op.name[3:]]


def affine_of(m: Match, op: Operator, axis: int) -> Affine:
    """Scale and shift that `op` (batch norm, or arithmetic with a constant) applies along `axis`."""
    affine = batch_norm_affine(op) if op.name == "nn.batch_norm" else _arithmetic(m, op, axis)
    m.need(affine is not None, "its constant operands do not reduce to one value per channel", op)
    assert affine is not None
    m.need(bool(np.isfinite(affine).all()), "its scale or shift is not finite", op)
    return affine


def _arithmetic(m: Match, op: Operator, axis: int) -> Affine | None:
    x, y = op.operands
    swapped = constant_of(y) is None
    m.need(not (swapped and op.name == "nn.div"), "the constant is the numerator, which is not linear", op)
    constant = constant_of(x if swapped else y)
    other = y if swapped else x
    m.need(constant is not None, "has no constant operand", op)
    m.need(other.type.shape == op.result.type.shape, "the constant broadcasts its other operand", op)
    assert constant is not None
    return _constant_affine(op, constant, swapped, axis)


# Rules ---------------------------------------------------------------------------------------------


def _guard_after(m: Match) -> None:
    linear = m.op("linear")
    need_constant_weights(m, linear)
    need_bias_only(m, linear)
    axis = channel_axis(linear)
    m.need(m.root.name != "nn.batch_norm" or axis == 1, "the batch norm's axis is not the matrix's columns")
    affine_of(m, m.root, axis)


def _after(m: Match) -> Value:
    """linear(x, w) + b, then y -> s y + t   ->   linear(x, s w) + (s b + t)

    where w, b, s and t are constant, s and t have one value for each result channel (or one in all) and are
    finite, the linear operator's result has no other use, and its epilogue holds nothing but the bias.
    """
    linear = m.op("linear")
    return fold_after(m, linear, *affine_of(m, m.root, channel_axis(linear)))


def input_axis(op: Operator) -> int:
    """The axis of the linear operator's data operand that it sums over."""
    return op.operands[0].type.rank - 1 if op.name == "nn.matmul" else 1


def _guard_before(m: Match) -> None:
    linear, inner = m.root, m.op("inner")
    need_constant_weights(m, linear)
    axis = input_axis(linear)
    m.need(
        inner.name != "nn.batch_norm" or axis == 1, "the batch norm's axis is not the matrix's rows", inner
    )
    _, shift = affine_of(m, inner, axis)
    if not shift.any() or linear.name == "nn.matmul":
        return
    m.need(
        linear.name == "nn.conv",
        "a shift before a transposed convolution does not reach every result equally",
        linear,
    )
    m.need(not any(linear["pads"]), "zero padding comes after the shift, so the borders would differ", linear)


def _before(m: Match) -> Value:
    """linear(s x + t, w)   ->   linear(x, w s) + (w t summed over input channels and taps)

    where w, s and t are constant, s and t have one value for each input channel (or one in all) and are
    finite, and s x + t has no other use. With t not zero: only a matmul, or a convolution whose pads are all
    zero (padding inserts zeros after the shift).
    """
    linear, inner = m.root, m.op("inner")
    x = next(v for v in inner.operands if constant_of(v) is None)
    return fold_before(m, linear, x, *affine_of(m, inner, input_axis(linear)))


def _guard_alone(m: Match) -> None:
    m.need(m.root.result.type.dtype.value == "f32", "only f32 is mapped")
    m.need(batch_norm_affine(m.root) is not None, "its parameters are not constant")


def _alone(m: Match) -> Value:
    """batch_norm(x)   ->   map(x, s, t) {mul, add}

    where scale, bias, mean and variance are constant; s and t are (1, C, 1, ...).
    """
    affine = batch_norm_affine(m.root)
    assert affine is not None
    x, shape = m.root.operands[0], channel_shape(m.root.result.type.shape, 1)
    s, t = (m.constant(a.astype(np.float32).reshape(shape)) for a in affine)
    return m.new("nn.map", [x, s, t], epilogue=(Step("mul"), Step("add")))


_ONCE = Op(LINEAR, (), "linear", once=True)
_X, _C = Any_("x"), Const("c")
_PARAMETERS = (Const("scale"), Const("bias"), Const("mean"), Const("variance"))
_BATCH_NORM = Op("nn.batch_norm", (_X, *_PARAMETERS), "inner", once=True)


def _arithmetic_before(name: str, commutes: bool) -> Op:
    return Op(LINEAR, (Op(f"nn.{name}", (_X, _C), "inner", once=True, commutes=commutes),))


RULES: tuple[Rule, ...] = (
    Rule("fold-batch-norm", Op("nn.batch_norm", (_ONCE, *_PARAMETERS)), _guard_after, _after),
    Rule("fold-mul", Op("nn.mul", (_ONCE, _C), commutes=True), _guard_after, _after),
    Rule("fold-add", Op("nn.add", (_ONCE, _C), commutes=True), _guard_after, _after),
    Rule("fold-sub", Op("nn.sub", (_ONCE, _C), commutes=True), _guard_after, _after),
    Rule("fold-div", Op("nn.div", (_ONCE, _C)), _guard_after, _after),
    Rule("fold-batch-norm-before", Op(LINEAR, (_BATCH_NORM,)), _guard_before, _before),
    Rule("fold-mul-before", _arithmetic_before("mul", True), _guard_before, _before),
    Rule("fold-add-before", _arithmetic_before("add", True), _guard_before, _before),
    Rule("fold-sub-before", _arithmetic_before("sub", True), _guard_before, _before),
    Rule("fold-div-before", _arithmetic_before("div", False), _guard_before, _before),
)

ALONE = Rule("map-batch-norm", Op("nn.batch_norm"), _guard_alone, _alone)
