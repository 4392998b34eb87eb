"""Direct convolutions whose weights are rounded so that they leave room for sums in 16 bits.

    sum over channels of (x - z) w   ->   the same sum with other 8-bit weights      (`ir/support/room.py`)

The operator stays what it is, and computes the same on every target; where bytes have no dot product of
their own, kernels add up such weights' products in half as many bits. What it costs is error: a filter's
scale grows, and the sets of weights that are still too large are brought down by just enough.
Of several scales, each filter takes the one of least squared error.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from secateur.ir.graph import Operator, constant_of
from secateur.ir.ops.linear import one_quant
from secateur.ir.registry import create
from secateur.ir.support.room import BLOCK, MOST, QUADS, blocks_of, met, parted
from secateur.ir.types import Quant

from ..winograd.room import fitted_signed, lowered
from .insert import LARGEST_BIAS, LEAST_SCALE

Floats = NDArray[Any]

DEPTH = QUADS[0]
_LARGEST = 127
_GROWTH = (1.0, 1.15, 1.3, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0)  # of scales that are tried; with the last all fit


class Kind(NamedTuple):
    """Room for products of some blocks of channels with signed bytes; or of `DEPTH` quads with unsigned."""

    blocks: int = 0


UNSIGNED = Kind()


def kinds(op: Operator) -> tuple[Kind, ...]:
    """That the operator's weights may be given, those of least error first."""
    return (*(Kind(blocks) for blocks in reversed(blocks_of(op.operands[1].type.shape[1]))), UNSIGNED)


class Roomy(NamedTuple):
    """The constants of a `q.linear_conv` of M filters."""

    weights: NDArray[np.int8]
    scales: NDArray[np.float32]  # (M,)
    bias: NDArray[np.int32]


def can_leave_room(op: Operator) -> bool:
    """Whether it is an operator whose kernels know of room: a `q.linear_conv` on images in one group."""
    fits = op.name == "q.linear_conv" and op.operands[0].type.rank == 4 and op["groups"] == 1
    return fits and all(constant_of(v) is not None for v in op.operands[1:3])


def roomy_form(op: Operator, weights: Floats, bias: Floats, samples: NDArray[np.uint8], kind: Kind) -> Roomy:
    """Constants that compute `op` from real weights and bias; `samples` are u8 patches of its input.

    What rounding adds on average over the samples is taken off the bias.
    """
    scale, zero = one_quant(op.operands[0].type)
    stored, scales = roomy_weights(weights, np.abs(bias) / (scale * LARGEST_BIAS), kind)
    lost = weights - stored * _along(scales, weights.ndim)
    means = (samples.astype(np.float64).mean((0, 2, 3)) - zero) * scale
    steps = (bias + np.einsum("mcij,c->m", lost, means)) / (scale * scales.astype(np.float64))
    return Roomy(stored, scales, np.clip(np.rint(steps), -LARGEST_BIAS, LARGEST_BIAS).astype(np.int32))


def roomy_weights(
    real: Floats, least: Floats, kind: Kind = UNSIGNED
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Real weights (M, C, kh, kw) in 8 bits, and a scale for each filter, above `least`."""
    real = real.astype(np.float64)
    axes = tuple(range(1, real.ndim))
    usual = np.maximum(np.abs(real).max(axes, initial=0.0) / _LARGEST, np.maximum(least, LEAST_SCALE))
    found, scales, error = np.zeros(real.shape, np.int8), usual, np.full(len(real), np.inf)
    for growth in _GROWTH:
        wider = (usual * growth).astype(np.float32).astype(np.float64)
        stored = fitted(real / _along(wider, real.ndim), kind)
        squared = np.square(real - stored * _along(wider, real.ndim)).sum(axes)
        better = squared < error
        found[better], scales = stored[better], np.where(better, wider, scales)
        error = np.minimum(error, squared)
    return found, scales.astype(np.float32)


def fitted(steps: Floats, kind: Kind = UNSIGNED) -> NDArray[np.int8]:
    """The whole numbers with room that come near `steps` (M, C, kh, kw)."""
    whole = np.clip(np.rint(steps), -_LARGEST, _LARGEST)
    return fitted_signed(steps, whole, kind.blocks) if kind.blocks else _fitted_unsigned(steps, whole)


def _fitted_unsigned(steps: Floats, nearest: Floats) -> NDArray[np.int8]:
    sets, whole = met(steps, DEPTH), met(nearest, DEPTH)
    for sign in (1, -1):
        over = (sign * whole).clip(0).sum(2, keepdims=True) > MOST
        if over.any():
            whole = np.where(over & (sign * whole > 0), sign * lowered((sign * sets).clip(0), MOST), whole)
    found: NDArray[np.int8] = parted(whole, steps.shape[1]).astype(np.int8)
    return found


def _along(scales: Floats, rank: int) -> Floats:
    return scales.astype(np.float64).reshape(-1, *[1] * (rank - 1))


def empty_roomy(op: Operator, kind: Kind) -> Roomy:
    """Constants of the right shapes that have room of a kind and no other: enough to estimate its gain."""
    return _nothing(op.operands[1].type.shape, kind)


@lru_cache(maxsize=64)
def _nothing(shape: tuple[int, ...], kind: Kind) -> Roomy:
    weights, ones = np.zeros(shape, np.int8), np.ones(shape[0], np.float32)
    weights[0] = lone(weights[0], kind.blocks) if kind.blocks else _lone_unsigned(weights[0])
    return Roomy(weights, ones, np.zeros(shape[0], np.int32))


def lone(weights: NDArray[np.int8], blocks: int) -> NDArray[np.int8]:
    """Weights (C, ...) of which so many blocks may meet, and no more, nor quads with unsigned bytes."""
    found, of_group = np.zeros_like(weights), np.arange(len(weights)) % (BLOCK * blocks)
    found[:1] = 2
    found[np.isin(of_group, (1, 1 + BLOCK // 2))] = 127
    return found


def _lone_unsigned(weights: NDArray[np.int8]) -> NDArray[np.int8]:
    """Weights (C, ...) whose quads may meet with unsigned bytes, and no blocks with signed ones."""
    found = np.zeros_like(weights)
    found[:: BLOCK // 2] = 127
    return found


def create_roomy(op: Operator, form: Roomy) -> list[Operator]:
    """Two constants and the `q.linear_conv` (last) that stands for `op`."""
    name, scales = op.operands[1].name or "w", tuple(map(float, form.scales))
    weights, bias = (create("nn.constant", [], {"value": array}) for array in (form.weights, form.bias))
    quant = Quant(scales, (0,) * len(scales), 0)
    weights.result.type = replace(weights.result.type, quant=quant)
    weights.result.name, bias.result.name = name, f"{name}.bias"
    operands = [op.operands[0], weights.result, bias.result, *op.operands[3:]]
    made = create(op.name, operands, op.attributes, op.loc)
    made.result.name = op.result.name
    return [weights, bias, made]
