"""Two channels in a word: additions and subtractions of both by one instruction.

A pair is high * 2^16 + low as one int32. What is linear in both is linear in the word, so only where it is
taken apart must both fit int16. The transforms' definition promises that of every value that is rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ....primitives.conv.winograd.steps import ROOT_FACTOR
from ....vector.shuffles import hold

Expr = Any

_HALF, _BITS = 1 << 14, 15


def held(value: Expr) -> Expr:
    return hold(value, 1, "int32")


def pair_of(word: Expr, shift: Expr, zero_point: int) -> Expr:
    """Bytes 0 and 2 of a word shifted by 0, or 1 and 3 of one shifted by 8, less their zero point."""
    return ((word >> shift) & 0x00FF00FF) - zero_point * 0x10001


def parts(pair: Expr) -> tuple[Expr, Expr]:
    """Low and high."""
    low = held((pair << 16) >> 16)
    return low, (pair - low) >> 16


def rounded(value: Expr, factor: Expr) -> Expr:
    """value * factor / 2^15, half up."""
    return (value * factor + _HALF) >> _BITS


def _by_root(pair: Expr) -> Expr:
    low, high = parts(held(pair))
    return held(rounded(high, ROOT_FACTOR) * 0x10000 + rounded(low, ROOT_FACTOR))


def input_steps(d: Sequence[Expr]) -> list[Expr]:
    """B^T d of 4 or 6 pairs, in the steps of `ir/reference/winograd.py`."""
    if len(d) == 4:
        return [d[2] - d[0], d[1] + d[2], d[2] - d[1], d[3] - d[1]]
    two, three = held(d[2] + d[2]), held(d[3] + d[3])
    a, b = held(d[4] + d[4] - d[2]), held(three - d[1])
    e, o = held(d[4] - two), held(d[3] - (d[1] + d[1]))
    start, end = held(d[0] - two), held(d[5] - three)
    first, last = a + (start + start), (end + end) - o
    a, o = _by_root(a), _by_root(o)
    return [first, a + b, a - b, e + o, e - o, last]
