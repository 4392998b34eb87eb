"""Some channels of a value, made by computing no others: by as many rows of the filters that make them."""

from __future__ import annotations

from collections.abc import Sequence

from secateur.ir.graph import Operator, Value
from secateur.ir.ranges import indices_of, ranges_of
from secateur.ir.rewrite import Match

from .channelwise import again, channelwise, constant_extras, on_channels, picked


def makes_rows(op: Operator | None) -> bool:
    """Whether each channel of the result is made by a filter of its own from all channels of the data."""
    if op is None or op.name not in ("nn.conv", "nn.conv_transpose") or op["groups"] != 1:
        return False
    return op.operands[1].is_constant and constant_extras(op) is not None


def carry(m: Match, x: Value, picks: Sequence[int], loc: str | None = None) -> Value:
    """Channels `picks` of x; x itself where these are all in order."""
    if tuple(picks) == tuple(range(x.type.shape[1])):
        return x
    value = m.new("nn.carry", [x], ranges=ranges_of(picks))
    if loc is not None and value.producer is not None:
        value.producer.loc = loc
    return value


def rows(m: Match, value: Value, picks: Sequence[int]) -> Value:
    """Channels `picks` of a value that nothing else uses, by fewer rows of filters where filters make them.

    Operators on the way that compute channel by channel are put behind the pick; where something
    else uses a value, or it is made otherwise, its channels are carried.
    """
    op = value.producer
    if tuple(picks) == tuple(range(value.type.shape[1])):
        return value
    if op is not None and op.name == "nn.carry":
        inner = indices_of(op["ranges"])
        return carry(m, op.operands[0], [inner[p] for p in picks], op.loc)
    if op is None or m.graph.use_count(value) != 1:
        return carry(m, value, picks)
    how = channelwise(op)
    if how is not None:
        return on_channels(m, op, rows(m, op.operands[how.data], picks), picks)
    return filters(m, op, picks) if makes_rows(op) else carry(m, value, picks)


def filters(m: Match, op: Operator, picks: Sequence[int]) -> Value:
    """The operator with `picks` of its filters (see `makes_rows`)."""
    along = {1: 0 if op.name == "nn.conv" else 1, **(constant_extras(op) or {})}
    operands = [picked(m, v, along[at], picks) if at in along else v for at, v in enumerate(op.operands)]
    return again(m, op, operands)
