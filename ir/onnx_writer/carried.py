"""Carried channels, and sums of channels, in ONNX's Gather, Pad and Add."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph import Operator
from ..ranges import indices_of, shared_out
from .writer import Write, Writer


def _carry(w: Writer, op: Operator, operands: list[str], result: str) -> None:
    w.node("Gather", [*operands, w.integers(indices_of(op["ranges"]))], op, result, axis=1)


def _channel_sum(w: Writer, op: Operator, _: list[str], result: str) -> None:
    parts = shared_out(op["ranges"], [v.type.shape[1] for v in op.operands])
    terms = [_spread(w, op, at, part) for at, part in enumerate(parts)]
    if len(terms) == 1:
        w.node("Identity", terms, op, result)
        return
    total = terms[0]
    for at, term in enumerate(terms[1:], 2):
        total = w.node("Add", [total, term], op, result if at == len(terms) else "")


def _spread(w: Writer, op: Operator, at: int, part: Sequence[int]) -> str:
    """Operand `at` as wide as the result: channels picked from its own and one of zeros behind them."""
    operand, channels = op.operands[at], op.result.type.shape[1]
    if tuple(part) == tuple(range(channels)):
        return w.names[operand]
    rank, zero = operand.type.rank, operand.type.shape[1]
    pads = [int(i == rank + 1) for i in range(2 * rank)]
    nothing = w.constant(np.zeros((), operand.type.dtype.numpy))
    padded = w.node("Pad", [w.names[operand], w.integers(pads), nothing], op)
    source = {channel: i for i, channel in enumerate(part)}
    picked = w.integers([source.get(channel, zero) for channel in range(channels)])
    return w.node("Gather", [padded, picked], op, axis=1)


WRITERS: dict[str, Write] = {"nn.carry": _carry, "nn.channel_sum": _channel_sum}
