"""3x3 convolutions on 8-bit tensors, quantized anew in the Winograd domain.

With V = B^T d B the input's tiles and U = G g G^T the weights', a tap of the
result is sum over channels of V U = (V / D) (U D) for any step D of that tap
and channel. V / D is rounded to 8 bits by the operator's `factors` (2^15 / D),
U D to 8 bits here, with one step for each tap and filter. D of each channel is
chosen between "the same share of 8 bits for every channel of V" and "... of U",
as SmoothQuant (Xiao et al. 2023) does between activations and weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from secateur.ir.filters import byte_filters
from secateur.ir.graph import Operator, Value, constant_of
from secateur.ir.ops.linear import WORDS, channel_multipliers, one_quant, result_scale
from secateur.ir.registry import create

from .factors import Options, choose_steps, factors_of, quantized, steps_from
from .room import paired
from .rounding import compensated, nearest, steps_of
from .transforms import Tile, matrices, sample_tiles, transformed_samples, transformed_weights
from .words import factor_bits, lost, may_end_in_words

Floats = NDArray[Any]

__all__ = ["Form", "Options", "applicable", "create_winograd", "winograd_form"]


class Form(NamedTuple):
    """The constants of a `q.winograd_conv` of C channels and M filters."""

    weights: NDArray[np.int8]  # (taps, M, C), or the model's (M, C, 3, 3)
    factors: NDArray[np.int16]  # (taps, C)
    scales: NDArray[np.float32]  # (taps, M) or (M,), in steps of the result
    bias: NDArray[np.float32]  # (M,), in steps of the result
    factor_bits: int = 0  # where the result is computed in words


def applicable(op: Operator) -> str | None:
    """Why a `q.linear_conv` has no Winograd form, None where it has one."""
    if op.name != "q.linear_conv":
        return f"{op.name} is no q.linear_conv"
    if op.operands[1].type.shape[2:] != (3, 3):
        return f"its kernel is {op.operands[1].type.shape[2:]}, not (3, 3)"
    if set(op["strides"]) != {1} or set(op["dilations"]) != {1}:
        return "it has strides or dilations"
    return None if op["groups"] == 1 else f"it has {op['groups']} groups"


def winograd_form(
    op: Operator,
    weights: NDArray[Any],
    tile: Tile,
    samples: NDArray[np.uint8],
    options: Options | None = None,
) -> Form:
    """The constants that compute `op` (a q.linear_conv) as F(tile, 3x3).

    `weights` are real (M, C, 3, 3); `samples` u8 patches of the operator's input
    (N, C, h, w), each at least one tile of tile + 2. ValueError for other shapes or operators.
    """
    _check(op, weights, samples)
    options = options or Options()
    scale, zero = one_quant(op.operands[0].type)
    tiles = sample_tiles(samples, tile, zero)
    whole = transformed_samples(tiles, tile)
    u, v = transformed_weights(weights, tile), whole.astype(np.float32)
    factors = factors_of(choose_steps(u, v, options))
    steps, q = steps_from(factors), quantized(whole, factors)
    if options.rounding == "spatial":
        stored, unit = _made_of_filters(op, factors, tile)
    else:
        stored, unit = _rounded(u * steps[:, None, :], v / steps[:, :, None], q, options)
    want = np.matmul(u, (matrices(tile)[2] @ tiles.mean(2))[:, :, None])[..., 0]
    error = mean_error(tile, want, stored, unit, q)
    in_steps = scale / result_scale(op.result.type)
    bias = channel_multipliers(op).astype(np.float64) * _bias(op) + error * in_steps
    if options.rounding == "spatial":
        return Form(_filters(op), factors, channel_multipliers(op), bias.astype(np.float32))
    scales = np.ascontiguousarray(unit * in_steps, dtype=np.float32)
    bits = factor_bits(stored, q, scales) if options.words and may_end_in_words(op) else 0
    bias = bias + lost(tile) if bits else bias
    return Form(stored, factors, scales, bias.astype(np.float32), bits)


def _check(op: Operator, weights: NDArray[Any], samples: NDArray[np.uint8]) -> None:
    if why := applicable(op):
        raise ValueError(f"no Winograd form: {why}")
    shape = op.operands[1].type.shape
    if weights.shape != shape:
        raise ValueError(f"the weights are {weights.shape}, the operator's {shape}")
    if samples.dtype != np.uint8 or samples.ndim != 4 or samples.shape[1] != shape[1] or not samples.size:
        raise ValueError(f"samples of {samples.dtype} {samples.shape} are no patches of {shape[1]} channels")


def _bias(op: Operator) -> NDArray[Any]:
    bias = constant_of(op.operands[2])
    if bias is None:
        raise ValueError("no Winograd form: its bias is not constant")
    return bias


def _filters(op: Operator) -> NDArray[np.int8]:
    """As they are stored."""
    value = op.operands[1]
    annotated = value.producer is not None and value.producer.name == "q.annotate"
    filters = constant_of(value.producer.operands[0] if annotated and value.producer else value)
    if filters is None:
        raise ValueError("no Winograd form: its weights are not constant")
    return filters


def _made_of_filters(op: Operator, factors: NDArray[np.int16], tile: Tile) -> tuple[NDArray[np.int8], Floats]:
    """What the operator makes of its i8 filters: (taps, M, C), and real units (taps, M)."""
    quant = op.operands[1].type.quant
    assert quant is not None, "the type rule wants quantized weights"
    made = byte_filters(_filters(op), factors, tile)
    return made.weights, made.units * np.broadcast_to(np.array(quant.scales), made.units.shape[1:])


def _rounded(u: Floats, v: Floats, q: Floats, options: Options) -> tuple[NDArray[np.int8], Floats]:
    """`u` (taps, M, C) in 8 bits and the unit of each tap and filter (taps, M)."""
    unit = steps_of(u, options.mode == "lance", options.paired)
    if options.rounding == "nearest":
        stored = nearest(u, unit)
    else:
        stored = compensated(u, unit, v, q, options.damping)
    return paired(stored) if options.paired else stored, unit


def mean_error(tile: Tile, want: Floats, stored: NDArray[np.int8], unit: Floats, q: Floats) -> Floats:
    """What each filter's result lacks on average over the samples and the tile: (M,)."""
    got = np.matmul(stored.astype(np.float64), q.mean(2, dtype=np.float64)[:, :, None])[..., 0] * unit
    found: Floats = matrices(tile)[0].mean(0) @ (want - got)
    return found


def create_winograd(op: Operator, form: Form, tile: Tile) -> list[Operator]:
    """Four constants and the `q.winograd_conv` (last) that stands for the q.linear_conv `op`."""
    name = op.operands[1].name or "w"
    arrays: tuple[NDArray[Any], ...] = form[:4]
    named = zip(arrays, ("winograd", "factors", "scales", "bias"), strict=True)
    constants = [_constant(array, f"{name}.{what}") for array, what in named]
    attributes = {k: op[k] for k in ("pads", "scales", "zero_points", "dtype", "limits")}
    values = [op.operands[0], *(c.result for c in constants), *op.operands[3:]]
    results = {"results": WORDS, "factor_bits": form.factor_bits} if form.factor_bits else {}
    made = create("q.winograd_conv", values, {**attributes, "tile": tile, **results}, op.loc)
    return [*constants, _same_result(made, op)]


def _constant(array: NDArray[Any], name: str) -> Operator:
    op = create("nn.constant", [], {"value": array})
    op.result.name = name
    return op


def _same_result(new: Operator, op: Operator) -> Operator:
    old: Sequence[Value] = op.results
    if [r.type for r in new.results] != [r.type for r in old]:
        raise ValueError(f"{new.result.type} is not the type {op.result.type} of what it replaces")
    new.result.name = op.result.name
    return new
