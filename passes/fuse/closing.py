"""Aggressive fusion, part two: sums of channels become the operators that compute them at the least cost.

Where nothing was pruned, an opened sum is the addition that it was, to the operator. Of a pruned one
each channel has its terms, and channels with the same terms are one part: rows alone are a convolution,
rows and carried channels a convolution that adds, carried channels alone a copy. The parts are joined;
channels are put in an order in which each part is one range, which the weights of what reads them absorb.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from secateur.ir.bounds import bounds_of
from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.ranges import indices_of, ranges_of, shared_out
from secateur.ir.rewrite import Any_, Match, Op, Rule, always, rewrite

from ..canonicalize import movement
from . import reorder
from .channelwise import UNARY, channelwise, on_channels
from .order import ABSENT, Cover, Part, carried_later, lie_apart, together
from .rows import filters, makes_rows, rows

MOST_RUNS = 4
"""Parts in channels' given order that are joined as they are; of more, channels are picked from a join."""

APART = 3
"""What it costs to move channels that lie apart, against a range of them, which kernels may read in place."""

REREAD = 4
"""How often a convolution of several taps reads (or transforms) its input, against one pass over it."""


# Sums that are simple ------------------------------------------------------------------------------


def _places(op: Operator) -> list[tuple[int, ...]]:
    """For each operand of a sum of channels: where its channels go."""
    return shared_out(op["ranges"], [v.type.shape[1] for v in op.operands])


def _guard_empty(m: Match) -> None:
    m.need(any(not v.type.shape[1] for v in m.root.operands), "every operand has channels")


def _empty(m: Match) -> Value:
    """channel_sum(..., x of no channels, ...)   ->   channel_sum(...), zeros where nothing is left"""
    left = [v for v in m.root.operands if v.type.shape[1]]
    if not left:
        return _zeros(m, m.root["channels"])
    return m.new("nn.channel_sum", left, channels=m.root["channels"], ranges=m.root["ranges"])


def _zeros(m: Match, channels: int) -> Value:
    type = m.root.result.type
    return m.constant(np.zeros((type.shape[0], channels, *type.shape[2:]), type.dtype.numpy))


def _guard_full(m: Match) -> None:
    everything = tuple(range(m.root["channels"]))
    m.need(all(p == everything for p in _places(m.root)), "an operand does not cover all channels in order")
    m.need(not _helps(m), "in another order, what later sums carry lies together")


def _helps(m: Match) -> bool:
    """Whether channels in another order spare later sums to pick those that they carry."""
    result = m.root.result
    return lie_apart(carried_later(result)) and reorder.absorbs(m.graph, result)


def _full(m: Match) -> Value:
    """channel_sum(a, b, ...) {each all channels in order}   ->   add(add(a, b), ...)"""
    return _added(m, m.root.operands)


def _added(m: Match, terms: Sequence[Value]) -> Value:
    total = terms[0]
    for term in terms[1:]:
        total = m.new("nn.add", [total, term])
    return total


# Sums in parts -------------------------------------------------------------------------------------


def is_join(op: Operator) -> bool:
    """Whether a sum of channels is a concatenation: each channel is one operand's, in order."""
    return op.name == "nn.channel_sum" and indices_of(op["ranges"]) == tuple(range(op["channels"]))


def _guard_split(m: Match) -> None:
    m.need(not is_join(m.root), "its operands lie one after the other")


def _split(m: Match) -> Value:
    """channel_sum(a, b, ...) {places}   ->   carry(channel_sum(part, ...) {one after the other}) {order}

    where a part is the sum of some operands' channels, channels with the same operands in one part. Rows
    of filters that make the channels of a part make no others. The order is one in which parts are few where
    what reads the sum absorbs it, else that of the result, else (too many parts) channels are picked. Where a
    convolution would run in pieces, and this costs more than padding the other operands, its part is one.
    """
    cover = Cover.of(m.root)
    base = _base(m)
    order = _order(m, cover, base)
    parts = _with_whole_rows(m, base, cover.parts(order))
    values = [_part(m, part) for part in parts]
    joined = m.new("nn.channel_sum", values, channels=len(order), ranges=(0, len(order)))
    if order == list(range(len(order))):
        return joined
    return m.new("nn.carry", [joined], ranges=ranges_of(reorder.inverse(order)))


def _base(m: Match) -> int:
    """The operand that the others are added to: of those that filters make, the widest."""
    operands = m.root.operands
    return max(range(len(operands)), key=lambda k: (_filters(operands[k]) is not None, _width(operands[k])))


def _width(value: Value) -> int:
    return value.type.shape[1]


def _filters(value: Value) -> Operator | None:
    """The operator whose filters make the channels of a term."""
    op = value.producer
    while op is not None and not makes_rows(op):
        how = channelwise(op)
        op = op.operands[how.data].producer if how is not None else None
    return op


def _order(m: Match, cover: Cover, base: int) -> list[int]:
    given = list(range(cover.channels))
    result = m.root.result
    if reorder.absorbs(m.graph, result):
        return cover.sorted(base, carried_later(result))
    return given if len(cover.parts(given)) <= MOST_RUNS else cover.sorted(base, ())


def _with_whole_rows(m: Match, base: int, parts: list[Part]) -> list[Part]:
    """The parts, those next to each other that have channels of `base` as one where that costs less."""
    at = [i for i, part in enumerate(parts) if base in dict(part.terms)]
    if len(at) < 2 or at != list(range(at[0], at[-1] + 1)):
        return parts
    merged = _merged([parts[i] for i in at])
    if _padded(merged) is None or _cost_of_padding(m, merged) > _cost_of_pieces(m, base, len(at)):
        return parts
    return [*parts[: at[0]], merged, *parts[at[-1] + 1 :]]


def _merged(parts: Sequence[Part]) -> Part:
    """One part of several; operands that do not reach all of its channels are `ABSENT` in some."""
    used = sorted({k for part in parts for k, _ in part.terms})
    terms = [(k, tuple(p for part in parts for p in _picks(part, k))) for k in used]
    return Part(tuple(c for part in parts for c in part.channels), tuple(terms))


def _picks(part: Part, operand: int) -> tuple[int, ...]:
    return dict(part.terms).get(operand, (ABSENT,) * len(part.channels))


def _padded(part: Part) -> list[tuple[int, int]] | None:
    """How far each operand is padded before and after; None where one is absent in between."""
    found = []
    for _, picks in part.terms:
        there = [i for i, p in enumerate(picks) if p != ABSENT]
        if there[-1] - there[0] + 1 != len(there):
            return None
        found.append((there[0], len(picks) - 1 - there[-1]))
    return found


def _cost_of_padding(m: Match, part: Part) -> int:
    """Elements that are read and written to pad operands."""
    counts = [sum(p != ABSENT for p in picks) for _, picks in part.terms]
    width = len(part.channels)
    return _pixels(m.root.result) * sum(n + width for n in counts if n < width)


def _cost_of_pieces(m: Match, base: int, pieces: int) -> int:
    """Elements that are read again where a convolution runs in pieces."""
    op = _filters(m.root.operands[base])
    if op is None:
        return 0
    taps = math.prod(op.operands[1].type.shape[2:])
    return (pieces - 1) * op.operands[0].type.elements * (REREAD if taps > 1 else 1)


def _pixels(value: Value) -> int:
    return math.prod(value.type.shape) // max(1, _width(value))


def _part(m: Match, part: Part) -> Value:
    """The sum of a part's terms."""
    if not part.terms:
        return _zeros(m, len(part.channels))
    pads = _padded(part)
    assert pads is not None
    terms = [
        _widened(m, rows(m, m.root.operands[k], [p for p in picks if p != ABSENT]), *pad)
        for (k, picks), pad in zip(part.terms, pads, strict=True)
    ]
    return _added(m, terms)


def _widened(m: Match, value: Value, before: int, after: int) -> Value:
    """The value with channels of zeros before and after it."""
    if not before and not after:
        return value
    rank = value.type.rank
    begins, ends = ([n if i == 1 else 0 for i in range(rank)] for n in (before, after))
    return m.new("nn.pad", [value], pads=(*begins, *ends))


# Streams that no sum makes --------------------------------------------------------------------------


def _guard_rows(m: Match) -> None:
    m.need(makes_rows(m.root), "its filters are no rows of constants")
    m.need(_is_carried(m.root.result), "none of its channels is carried")
    later = carried_later(m.root.result)
    m.need(lie_apart(later), "what later sums carry lies together")
    order = together(_width(m.root.result), later)
    m.need(order != list(range(len(order))), "no order is better")
    m.need(reorder.absorbs(m.graph, m.root.result), "something needs its channels in order")


def _is_carried(value: Value) -> bool:
    """Whether channels of a value are carried, perhaps behind operators that compute channel by channel."""
    for op, at in value.uses:
        how = channelwise(op)
        if op.name == "nn.carry" or (how is not None and how.data == at and _is_carried(op.result)):
            return True
    return False


def _rows(m: Match) -> Value:
    """conv(x, w)   ->   carry(conv(x, w')) {order}

    where w' has the filters of w in an order in which what later sums carry comes first, and what reads the
    result absorbs the order.
    """
    result = m.root.result
    order = together(_width(result), carried_later(result))
    made = filters(m, m.root, order)
    return m.new("nn.carry", [made], ranges=ranges_of(reorder.inverse(order)))


def _guard_added(m: Match) -> None:
    reorder.need_permutation(m)
    other = m.root.operands[1 - _carried_at(m)]
    m.need(other.type.shape == m.root.result.type.shape, "the other operand is repeated")
    m.need(_makes_rows_alone(m.graph, other), "the other operand is made by no filters of its own")
    m.need(_takes_any_order(m.graph, m.root.result), "something needs its channels in order")


def _takes_any_order(graph: Graph, value: Value) -> bool:
    """Whether what reads a value takes its channels in any order, sums with rows of filters too."""

    def behind(op: Operator, at: int) -> list[Value] | None:
        other = op.operands[1 - at] if op.name == "nn.add" else None
        fits = other is not None and other.type.shape == op.result.type.shape
        return [op.result] if fits and other is not None and _makes_rows_alone(graph, other) else None

    return reorder.absorbs(graph, value, behind)


def _carried_at(m: Match) -> int:
    return 0 if m.root.operands[0] is m.op("carry").result else 1


def _makes_rows_alone(graph: Graph, value: Value) -> bool:
    """Whether filters make a value's channels, which nothing else uses on the way."""
    op = value.producer
    while op is not None and graph.use_count(op.result) == 1:
        if makes_rows(op):
            return True
        how = channelwise(op)
        op = op.operands[how.data].producer if how is not None else None
    return False


def _reordered_rows(m: Match) -> Value:
    """add(conv(y, w), carry(x) {p})   ->   carry(add(conv(y, w'), x)) {p}

    where p is a permutation, w' has the filters of w in the order of x's channels, the convolution (or what
    computes channel by channel behind it) has no other use, and what reads the sum absorbs the order.
    """
    carried, at = m.op("carry"), _carried_at(m)
    picks = indices_of(carried["ranges"])
    made = rows(m, m.root.operands[1 - at], reorder.inverse(picks))
    terms = [m.value("x"), made] if at == 0 else [made, m.value("x")]
    return m.new("nn.carry", [m.new("nn.add", terms)], ranges=carried["ranges"])


# What follows a join -------------------------------------------------------------------------------


def _guard_behind(m: Match) -> None:
    m.need(is_join(m.op("join")), "the sum is not yet in parts", m.op("join"))
    m.need(channelwise(m.root) is not None, "its parameters are not constant")


def _behind(m: Match) -> Value:
    """f(channel_sum(a, b, ...) {one after the other})   ->   channel_sum(f(a), f(b), ...)

    where f is a unary function or a batch norm and the sum has no other use. A ReLU or clip is left out where
    it does nothing, since the part's bounds lie within its own: in carried channels of what is not negative.
    """
    join = m.op("join")
    parts = [_applied(m, v, picks) for v, picks in zip(join.operands, _places(join), strict=True)]
    return m.new("nn.channel_sum", parts, channels=join["channels"], ranges=join["ranges"])


def _applied(m: Match, part: Value, picks: Sequence[int]) -> Value:
    return part if _does_nothing(m.root, part) else on_channels(m, m.root, part, picks)


def _does_nothing(op: Operator, value: Value) -> bool:
    """Whether a function gives its operand back, by the sign (or bounds) of that."""
    if op.name == "nn.clip":
        return bounds_of(value).within(op["min"], op["max"])
    return op.name in ("nn.relu", "nn.abs", "nn.leaky_relu") and bounds_of(value).low >= 0.0


# What is left --------------------------------------------------------------------------------------


def _guard_join(m: Match) -> None:
    m.need(is_join(m.root), "its operands overlap")


def _join(m: Match) -> Value:
    """channel_sum(a, b, ...) {one after the other}   ->   concat(a, b, ...)"""
    operands = m.root.operands
    return operands[0] if len(operands) == 1 else m.new("nn.concat", operands, axis=1)


def _guard_slice(m: Match) -> None:
    m.need(len(m.root["ranges"]) == 2, "its channels are no single range")


def _slice(m: Match) -> Value:
    """carry(x) {a to b}   ->   slice(x) {channels a to b}"""
    begin = m.root["ranges"][0]
    shape = m.root.result.type.shape
    starts = tuple(begin if i == 1 else 0 for i in range(len(shape)))
    return m.new("nn.slice", m.root.operands, starts=starts, sizes=shape, steps=(1,) * len(shape))


def _gather(m: Match) -> Value:
    """carry(x) {list}   ->   gather(x, list) {axis = 1}"""
    picks = m.constant(np.array(indices_of(m.root["ranges"]), np.int64))
    return m.new("nn.gather", [m.root.operands[0], picks], axis=1)


_SUM = Op("nn.channel_sum")
_CARRIED = Op("nn.carry", (Any_("x"),), "carry")
_AFTER = Op((*sorted(UNARY), "nn.batch_norm"), (Op("nn.channel_sum", (), "join", once=True),))

PARTS: tuple[Rule, ...] = (
    *reorder.RULES,
    Rule("sum-of-nothing", _SUM, _guard_empty, _empty),
    Rule("sum-to-add", _SUM, _guard_full, _full),
    Rule("rows-in-order", Op(("nn.conv", "nn.conv_transpose")), _guard_rows, _rows),
    Rule("sum-in-parts", _SUM, _guard_split, _split),
    Rule("behind-parts", _AFTER, _guard_behind, _behind),
)
JOINS = (Rule("parts-to-concat", _SUM, _guard_join, _join),)
IN_ORDER: tuple[Rule, ...] = (
    *reorder.RULES,
    Rule("rows-as-carried", Op("nn.add", (_CARRIED, Any_())), _guard_added, _reordered_rows),
    Rule("rows-as-carried", Op("nn.add", (Any_(), _CARRIED)), _guard_added, _reordered_rows),
)
LEFT: tuple[Rule, ...] = (
    Rule("carry-to-slice", Op("nn.carry"), _guard_slice, _slice),
    Rule("carry-to-gather", Op("nn.carry"), always, _gather),
    *(rule for rule in movement.RULES if rule.name == "slice-of-slice"),
)
RULES = (
    *PARTS,
    *JOINS,
    *(rule for rule in IN_ORDER if rule not in reorder.RULES),
    *(rule for rule in LEFT if rule not in movement.RULES),
)


TOLERANCE = 1e-5
"""Of closing: weights in another order are added in another order."""


def is_open(graph: Graph) -> bool:
    """Whether there are carried channels or sums of channels."""
    return any(op.name in ("nn.carry", "nn.channel_sum") for op in graph.operators)


def close_sums(graph: Graph) -> None:
    """Leaves no carried channels and sums of channels in the graph."""
    if not is_open(graph):
        return
    rewrite(graph, PARTS)
    rewrite(graph, JOINS)
    in_order = graph.clone()
    rewrite(in_order, IN_ORDER)
    if _picked(in_order) < _picked(graph):
        rewrite(graph, IN_ORDER)
    rewrite(graph, LEFT)
    graph.remove_dead()


def _picked(graph: Graph) -> int:
    """Elements that carried channels take to move: one by one where they lie apart, else in one piece."""
    carried = [op for op in graph.operators if op.name == "nn.carry" and graph.is_used(op.result)]
    return sum(op.result.type.elements * (1 if len(op["ranges"]) == 2 else APART) for op in carried)
