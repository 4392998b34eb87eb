"""Weights of integer operators: i8 with zero points 0, one scale for each output channel.

Less its zero point, a byte may have nine bits. Few of a layer's weights do, so what exceeds eight of them
stands apart, for input channels that follow the others once more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from secateur.ir.graph import Operator, Value, constant_of
from secateur.ir.rewrite import Array, Match
from secateur.ir.types import Quant

from ..fuse.affine import channel_axis, channel_shape

Floats = NDArray[np.float64]

WEIGHTS_AXIS = {"nn.conv": 0, "nn.matmul": 1}
"""The axis of the weights' output channels."""


@dataclass(frozen=True)
class Weights:
    """i8 integers with zero points 0, and one float64 scale for each output channel.

    `again` names the input channels that are met once more, behind all others.
    """

    stored: Array
    scales: Floats
    again: tuple[int, ...] = ()


def need_weights(m: Match, op: Operator) -> Weights:
    """The stored weights behind operand 1, less their zero points; refuses where they are not 8-bit."""
    producer = op.operands[1].producer
    m.need(producer is not None and producer.name == "q.dequantize", "its weights are not dequantized", op)
    assert producer is not None
    stored = constant_of(producer.operands[0])
    m.need(stored is not None, "its weights are not constant", op)
    quant = producer.operands[0].type.quant
    assert stored is not None
    assert quant is not None
    axis = WEIGHTS_AXIS[op.name]
    m.need(quant.axis in (None, axis), f"its weights' scales lie along axis {quant.axis}, not {axis}", op)
    m.need(stored.dtype.itemsize == 1, f"its weights are {stored.dtype}, not of 8 bits", op)
    zeros = np.array(quant.zero_points, np.int16)
    shape = channel_shape(stored.shape, axis) if quant.axis is not None else (1,) * stored.ndim
    scales = _scales(op, quant)
    return _in_bytes(m, op, stored.astype(np.int16) - zeros.reshape(shape), scales)


def _in_bytes(m: Match, op: Operator, wide: NDArray[np.int16], scales: Floats) -> Weights:
    """Weights of nine bits as i8; what leaves them is added by channels that are met again."""
    if wide.min(initial=0) >= -128 and wide.max(initial=0) <= 127:
        return Weights(wide.astype(np.int8), scales)
    m.need(op.attributes.get("groups", 1) == 1, "its groups have weights of nine bits", op)
    inputs = 1 - WEIGHTS_AXIS[op.name]
    others = tuple(axis for axis in range(wide.ndim) if axis != inputs)
    near = np.clip(wide, -127, 127)
    parts, again, rest = [near], list[int](), wide - near
    while rest.any():
        channels = np.flatnonzero(rest.any(axis=others))
        near = np.clip(rest, -127, 127)
        parts.append(np.take(near, channels, inputs))
        again += [int(i) for i in channels]
        rest = rest - near
    return Weights(np.concatenate(parts, inputs).astype(np.int8), scales, tuple(again))


def _scales(op: Operator, quant: Quant) -> Floats:
    channels = op.result.type.shape[channel_axis(op)]
    return np.broadcast_to(np.array(quant.scales), (channels,))


def scaled(m: Match, op: Operator, weights: Weights, scale: Floats) -> Weights:
    """Weights whose products are `scale` times as large, by other scales and, where negative, other signs."""
    if (scale == 1.0).all():
        return weights
    m.need(bool(np.isfinite(scale).all() and (scale != 0).all()), "a channel is scaled by 0 or infinity", op)
    stored, negative = weights.stored, scale < 0
    if negative.any():
        shape = channel_shape(stored.shape, WEIGHTS_AXIS[op.name])
        m.need(
            bool((stored != -128).all()), "a channel's sign changes and weights of -128 have no opposite", op
        )
        stored = np.where(negative.reshape(shape), -stored, stored)
    return replace(weights, stored=stored, scales=weights.scales * np.abs(scale))


def coarser(op: Operator, weights: Weights, shift: Floats, scale: float) -> Weights:
    """Channels whose bias is too large in steps of tiny weights get steps in which it fits.

    Their weights are rounded again, by less than 2^-30 of the bias each: batch norms of dead channels.
    """
    with np.errstate(over="ignore"):
        least = np.abs(shift) / (scale * 2.0**30)
    if not (least > weights.scales).any():
        return weights
    scales = np.maximum(weights.scales, least)
    shape = channel_shape(weights.stored.shape, WEIGHTS_AXIS[op.name])
    stored = np.rint(weights.stored * (weights.scales / scales).reshape(shape)).astype(np.int8)
    return replace(weights, stored=stored, scales=scales)


def need_scales(m: Match, op: Operator, scales: Floats) -> None:
    """Refuses scales that float32 cannot hold."""
    with np.errstate(over="ignore"):
        rounded = scales.astype(np.float32)
    m.need(bool((np.isfinite(rounded) & (rounded > 0)).all()), "a scale of its weights leaves float32", op)


def weights_value(m: Match, op: Operator, weights: Weights) -> Value:
    """The weights as a constant whose type tells their scales."""
    scales = tuple(map(float, weights.scales))
    made = m.constant(weights.stored, root_name(op.operands[1]))
    alike = len(set(scales)) == 1
    axis = None if alike else WEIGHTS_AXIS[op.name]
    quant = Quant(scales[:1] if alike else scales, (0,) if alike else (0,) * len(scales), axis)
    made.type = replace(made.type, quant=quant)
    return made


def root_name(value: Value) -> str:
    """The name of the constant that a value is dequantized from."""
    return value.producer.operands[0].name if value.producer is not None else value.name
