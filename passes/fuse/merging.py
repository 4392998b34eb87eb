"""Convolutions of one input that become one: the level `aggressive` of fusion, where it saves work.

Parallel convolutions that are added have the sum of their filters, a smaller kernel padded to the larger,
and x itself (or a batch norm of it) is a 1x1 convolution by identity filters. The larger kernel is computed
anyway, so the others cost nothing any more: RepVGG's blocks become one 3x3 convolution each. Parallel
convolutions that are joined are the rows of one. Those whose results go separate ways stay as they are:
each reader would need a copy of its part, and their rows are prunable as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from secateur.ir.graph import Operator, Value, constant_of
from secateur.ir.rewrite import Any_, Array, Match, Op, Rule

from .affine import BIAS, batch_norm_affine, bias_of, need_bias_only, need_constant_weights

_SAME = ("strides", "dilations", "groups")


def _weights(op: Operator) -> Array:
    array = constant_of(op.operands[1])
    assert array is not None
    return np.asarray(array, np.float64)


def _bias(op: Operator) -> Array:
    """One for each filter, zeros where there is none."""
    found = bias_of(op)
    return np.zeros(op.operands[1].type.shape[0]) if found is None else found


def _merged(m: Match, op: Operator, weights: Array, bias: Array) -> Value:
    """The convolution with other filters and bias."""
    dtype = op.result.type.dtype.numpy
    operands = [op.operands[0], m.constant(weights.astype(dtype), op.operands[1].name)]
    steps = (BIAS,) if bias.any() else ()
    if steps:
        shape = (1, -1, *[1] * (op.result.type.rank - 2))
        operands.append(m.constant(bias.astype(dtype).reshape(shape), f"{op.operands[1].name}.bias"))
    return m.new("nn.conv", operands, **{**op.attributes, "epilogue": steps})


def _need_plain(m: Match, *operators: Operator) -> None:
    for op in operators:
        need_constant_weights(m, op)
        need_bias_only(m, op)


# Added ---------------------------------------------------------------------------------------------


def _margins(large: Operator, small: Operator) -> list[tuple[int, int]] | None:
    """How far the small kernel is padded, along each axis, to lie on taps of the large one; or None."""
    n = len(large["strides"])
    found = [
        (large["pads"][i] - small["pads"][i], large["pads"][n + i] - small["pads"][n + i]) for i in range(n)
    ]
    sizes = zip(large.operands[1].type.shape[2:], small.operands[1].type.shape[2:], strict=True)
    fits = all(a >= 0 <= b and a + b == k - s for (a, b), (k, s) in zip(found, sizes, strict=True))
    spread = any(d != 1 for d in large["dilations"]) and any(map(any, found))
    return found if fits and not spread else None


def _larger(m: Match) -> tuple[Operator, Operator]:
    one, other = m.op("one"), m.op("other")
    return (one, other) if one.operands[1].type.elements >= other.operands[1].type.elements else (other, one)


def _guard_summed(m: Match) -> None:
    large, small = _larger(m)
    m.need(large is not small, "both operands are one convolution")
    _need_plain(m, large, small)
    m.need(all(large[a] == small[a] for a in _SAME), "strides, dilations or groups differ", small)
    m.need(_margins(large, small) is not None, "its taps do not lie on the other's", small)


def _summed(m: Match) -> Value:
    """conv(x, w) + b + conv(x, v) + c   ->   conv(x, w + v') + (b + c)

    where v' is v padded with zeros to the kernel of w, strides, dilations and groups are equal, no result has
    another use, and the pads are such that the taps of v lie on taps of w (between dilated ones they do not).
    """
    large, small = _larger(m)
    margins = _margins(large, small)
    assert margins is not None
    padded = np.pad(_weights(small), [(0, 0), (0, 0), *margins])
    return _merged(m, large, _weights(large) + padded, _bias(large) + _bias(small))


def _guard_identity(m: Match) -> None:
    conv, x = m.op("one"), m.value("x")
    _need_plain(m, conv)
    m.need(conv["groups"] == 1 and x.type.shape == conv.result.type.shape, "its result is not x's like", conv)
    m.need(all(s == 1 for s in conv["strides"]), "it strides", conv)
    n = len(conv["strides"])
    tap = list(zip(conv["pads"][:n], conv["dilations"], conv.operands[1].type.shape[2:], strict=True))
    m.need(all(p % d == 0 and p // d < k for p, d, k in tap), "no tap meets the pixel itself", conv)
    if m.root.operands[0] is not x and m.root.operands[1] is not x:
        m.need(batch_norm_affine(m.op("norm")) is not None, "its parameters are not constant", m.op("norm"))


def _identity(m: Match) -> Value:
    """conv(x, w) + x or conv(x, w) + batch_norm(x)   ->   conv(x, w + s I) + t

    where I has a 1 for each channel at the tap that meets the pixel itself, s and t are 1 and 0 or the batch
    norm's scale and shift, the convolution has stride 1, one group and as many filters as x has channels,
    and its result and the batch norm's have no other use.
    """
    conv = m.op("one")
    n, weights = len(conv["strides"]), _weights(conv).copy()
    channels = np.arange(len(weights))
    affine = batch_norm_affine(m.op("norm")) if "norm" in m.bound else None
    scale, shift = affine if affine is not None else (np.ones(len(weights)), np.zeros(len(weights)))
    tap = tuple(p // d for p, d in zip(conv["pads"][:n], conv["dilations"], strict=True))
    weights[(channels, channels, *tap)] += scale
    return _merged(m, conv, weights, _bias(conv) + shift)


# Joined --------------------------------------------------------------------------------------------


def _runs(operands: Sequence[Value], m: Match) -> list[list[Value]]:
    """Operands next to each other that one convolution can make."""
    runs: list[list[Value]] = []
    for value in operands:
        if runs and _alike(m, runs[-1][-1], value):
            runs[-1].append(value)
        else:
            runs.append([value])
    return runs


def _alike(m: Match, one: Value, other: Value) -> bool:
    """Whether two values are made by convolutions that differ in their filters alone, for one use each."""
    a, b = one.producer, other.producer
    if a is None or b is None or a is b or a.name != "nn.conv" or b.name != "nn.conv":
        return False
    if m.graph.use_count(one) != 1 or m.graph.use_count(other) != 1 or a.operands[0] is not b.operands[0]:
        return False
    same = all(a[name] == b[name] for name in (*_SAME, "pads")) and a["groups"] == 1
    plain = all(
        op.operands[1].is_constant
        and (not op["epilogue"] or (op["epilogue"] == (BIAS,) and bias_of(op) is not None))
        for op in (a, b)
    )
    return (
        same
        and plain
        and one.type.dtype.is_float
        and (a.operands[1].type.shape[1:] == b.operands[1].type.shape[1:])
    )


def _guard_joined(m: Match) -> None:
    m.need(m.root["axis"] % max(1, m.root.result.type.rank) == 1, "it does not join channels")
    m.need(
        any(len(run) > 1 for run in _runs(m.root.operands, m)),
        "no two parts next to each other are convolutions of one input that differ in their filters alone",
    )


def _joined(m: Match) -> Value:
    """concat(..., conv(x, w) + b, conv(x, v) + c, ...)   ->   concat(..., conv(x, [w; v]) + [b; c], ...)

    along the channels, where the convolutions stand next to each other, differ in their filters alone, have
    one group and no other use.
    """
    parts = [_stacked(m, run) if len(run) > 1 else run[0] for run in _runs(m.root.operands, m)]
    return parts[0] if len(parts) == 1 else m.new("nn.concat", parts, axis=1)


def _stacked(m: Match, run: Sequence[Value]) -> Value:
    operators = [v.producer for v in run if v.producer is not None]
    weights = np.concatenate([_weights(op) for op in operators])
    return _merged(m, operators[0], weights, np.concatenate([_bias(op) for op in operators]))


_X = Any_("x")
_ONE, _OTHER = (Op("nn.conv", (_X,), bind, once=True) for bind in ("one", "other"))
_NORM = Op("nn.batch_norm", (_X,), "norm", once=True)

RULES: tuple[Rule, ...] = (
    Rule("merge-summed", Op("nn.add", (_ONE, _OTHER)), _guard_summed, _summed),
    Rule("merge-identity", Op("nn.add", (_ONE, _X), commutes=True), _guard_identity, _identity),
    Rule("merge-identity", Op("nn.add", (_ONE, _NORM), commutes=True), _guard_identity, _identity),
    Rule("merge-joined", Op("nn.concat"), _guard_joined, _joined),
)
