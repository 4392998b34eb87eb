"""Channels put in another order for nothing: a permutation moves down to where weights absorb it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.ranges import indices_of, ranges_of, shared_out
from secateur.ir.rewrite import Any_, Match, Op, Rule, always

from .channelwise import BINARY, POOLS, REDUCTIONS, UNARY, again, channelwise, on_channels, picked

_SUMMING = ("nn.conv", "nn.conv_transpose", "nn.matmul")


def inverse(picks: Sequence[int]) -> tuple[int, ...]:
    """The permutation that undoes another."""
    return tuple(int(i) for i in np.argsort(np.array(picks, np.intp)))


# What absorbs --------------------------------------------------------------------------------------


def _sums_channels(op: Operator, at: int) -> bool:
    """Whether the operator sums over the channels of operand `at`, by constant weights."""
    if op.name not in _SUMMING or at != 0 or not op.operands[1].is_constant:
        return False
    if op.name == "nn.matmul":
        return op.operands[0].type.rank == 2 and op.operands[1].type.rank == 2
    return bool(op["groups"] == 1)


def _flattens(op: Operator) -> bool:
    """Whether the operator turns N x C x ... into N x (C ...), of which only a matrix product knows."""
    if op.name != "nn.reshape" or op.operands[0].type.rank < 2:
        return False
    before, after = op.operands[0].type, op.result.type
    return after.rank == 2 and after.shape[0] == before.shape[0]


Behind = Callable[[Operator, int], list[Value] | None]
"""Values that have the new order in turn; None where the operator cannot take one."""


def absorbs(graph: Graph, value: Value, others: Behind = lambda _op, _place: None) -> bool:
    """Whether every use of a value can have its channels in another order at no cost.

    `others` knows of operators that are not known here.
    """
    stack = [value]
    while stack:
        at = stack.pop()
        if graph.is_output(at):
            return False
        for op, place in at.uses:
            behind = _behind(op, place)
            behind = others(op, place) if behind is None else behind
            if behind is None:
                return False
            stack += behind
    return True


def _behind(op: Operator, place: int) -> list[Value] | None:
    if op.name in ("nn.carry", "nn.channel_sum") or _sums_channels(op, place):
        return []
    how = channelwise(op)
    if (how is not None and how.data == place) or _joins_channels(op):
        return [op.result]
    if _flattens(op) and all(_sums_channels(user, at) for user, at in op.result.uses):
        return [op.result]
    return None


def _joins_channels(op: Operator) -> bool:
    return op.name == "nn.concat" and op["axis"] % max(1, op.result.type.rank) == 1


# Rules ---------------------------------------------------------------------------------------------


def _picks(m: Match) -> tuple[int, ...]:
    return indices_of(m.op("carry")["ranges"])


def need_permutation(m: Match) -> None:
    """Refuses a carry that leaves channels out."""
    op = m.op("carry")
    m.need(sorted(_picks(m)) == list(range(m.value("x").type.shape[1])), "channels are left out", op)


def _guard_channelwise(m: Match) -> None:
    need_permutation(m)
    how = channelwise(m.root)
    m.need(how is not None, "it does not compute channel by channel")
    assert how is not None
    m.need(m.root.operands[how.data] is m.op("carry").result, "the carried channels are not its data")


def _channelwise(m: Match) -> Value:
    """f(carry(x) {p})   ->   carry(f'(x)) {p}

    where p is a permutation, f computes channel by channel, and f' has the constants of f in the order of x.
    """
    inner = on_channels(m, m.root, m.value("x"), inverse(_picks(m)))
    return m.new("nn.carry", [inner], ranges=m.op("carry")["ranges"])


def _guard_summing(m: Match) -> None:
    need_permutation(m)
    m.need(_sums_channels(m.root, 0), "it does not sum over all channels with constant weights")


def _summing(m: Match) -> Value:
    """conv(carry(x) {p}, w) or matmul(carry(x) {p}, w)   ->   conv(x, w'), matmul(x, w')

    where p is a permutation, w is constant (for a matmul, a matrix) and w' has its inputs in x's order.
    """
    return _with_inputs(m, m.value("x"), inverse(_picks(m)))


def _with_inputs(m: Match, x: Value, picks: Sequence[int]) -> Value:
    weights, *rest = m.root.operands[1:]
    axis = 1 if m.root.name == "nn.conv" else 0
    return again(m, m.root, [x, picked(m, weights, axis, picks), *rest])


def _guard_flattened(m: Match) -> None:
    need_permutation(m)
    m.need(_flattens(m.op("flat")), "its data is not flattened", m.op("flat"))
    m.need(_sums_channels(m.root, 0), "it is no product with a constant matrix")


def _flattened(m: Match) -> Value:
    """matmul(reshape(carry(x) {p}), w)   ->   matmul(reshape(x), w')

    where p is a permutation, the reshape flattens N x C x ... to N x (C ...), w is a constant matrix, and w'
    has its rows in the order of x's channels.
    """
    flat, x = m.op("flat"), m.value("x")
    pixels = flat.result.type.shape[1] // max(1, x.type.shape[1])
    picks = [p * pixels + i for p in inverse(_picks(m)) for i in range(pixels)]
    return _with_inputs(m, again(m, flat, [x]), picks)


def _guard_joined(m: Match) -> None:
    m.need(_joins_channels(m.root), "it does not join channels")
    m.need(any(_is_permuted(v) for v in m.root.operands), "none of its parts is in another order")


def _is_permuted(value: Value) -> bool:
    op = value.producer
    if op is None or op.name != "nn.carry":
        return False
    return sorted(indices_of(op["ranges"])) == list(range(op.operands[0].type.shape[1]))


def _joined(m: Match) -> Value:
    """concat(..., carry(x) {p}, ...) {axis = 1}   ->   carry(concat(..., x, ...)) {..., p, ...}

    where p is a permutation.
    """
    parts: list[Value] = []
    order: list[int] = []
    for value in m.root.operands:
        op, width = value.producer, value.type.shape[1]
        permuted = op is not None and _is_permuted(value)
        picks = indices_of(op["ranges"]) if op is not None and permuted else range(width)
        order += [len(order) + p for p in picks]
        parts.append(op.operands[0] if op is not None and permuted else value)
    return m.new("nn.carry", [again(m, m.root, parts)], ranges=ranges_of(order))


def _guard_summed(m: Match) -> None:
    m.need(any(_is_permuted(v) for v in m.root.operands), "none of its operands is in another order")


def _summed(m: Match) -> Value:
    """channel_sum(..., carry(x) {p}, ...) {..., r, ...}   ->   channel_sum(..., x, ...) {..., r', ...}

    where p is a permutation and x's channels go where the carried ones went.
    """
    parts: list[Value] = []
    ranges: list[int] = []
    places = shared_out(m.root["ranges"], [v.type.shape[1] for v in m.root.operands])
    for value, place in zip(m.root.operands, places, strict=True):
        op = value.producer
        if op is None or not _is_permuted(value):
            parts.append(value)
            ranges += ranges_of(place)
            continue
        parts.append(op.operands[0])
        ranges += ranges_of([place[p] for p in inverse(indices_of(op["ranges"]))])
    return again(m, m.root, parts, ranges=tuple(ranges))


def _guard_whole(m: Match) -> None:
    channels = m.root.operands[0].type.shape[1]
    m.need(indices_of(m.root["ranges"]) == tuple(range(channels)), "channels are left out or moved")


def _whole(m: Match) -> Value:
    """carry(x) {all channels in order}   ->   x"""
    return m.root.operands[0]


def _chain(m: Match) -> Value:
    """carry(carry(x) {p}) {q}   ->   carry(x) {p[q]}"""
    inner, outer = _picks(m), indices_of(m.root["ranges"])
    return m.new("nn.carry", [m.value("x")], ranges=ranges_of([inner[q] for q in outer]))


_CARRY = Op("nn.carry", (Any_("x"),), "carry")
_FLAT = Op("nn.reshape", (_CARRY,), "flat")
_ONE = ("nn.batch_norm", "nn.conv", "nn.slice", "nn.pad", "nn.resize", *sorted(UNARY | POOLS | REDUCTIONS))
_TWO = tuple(sorted(BINARY))

RULES: tuple[Rule, ...] = (
    Rule("carry-whole", Op("nn.carry"), _guard_whole, _whole),
    Rule("carry-chain", Op("nn.carry", (_CARRY,)), always, _chain),
    Rule("reorder-channelwise", Op((*_ONE, *_TWO), (_CARRY,)), _guard_channelwise, _channelwise),
    Rule("reorder-channelwise", Op(_TWO, (Any_(), _CARRY)), _guard_channelwise, _channelwise),
    Rule("reorder-summing", Op(_SUMMING, (_CARRY,)), _guard_summing, _summing),
    Rule("reorder-flattened", Op("nn.matmul", (_FLAT,)), _guard_flattened, _flattened),
    Rule("reorder-joined", Op("nn.concat"), _guard_joined, _joined),
    Rule("reorder-summed", Op("nn.channel_sum"), _guard_summed, _summed),
)
