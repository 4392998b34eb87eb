"""Maps of models that have channels last, on the side of their transposes that has them second.

TensorFlow's exporters compute between a network's ends and its transposes too. A file has channels last where
the IR has them second, so a transpose takes nothing there and what is behind it is an image like any other.
"""

from __future__ import annotations

import numpy as np

from secateur.ir.graph import Operator, Value
from secateur.ir.rewrite import Match, Op, Rule

from ..canonicalize import movement
from ..integer.parts import known
from . import maps

Perm = tuple[int, ...]


def first(rank: int) -> Perm:
    """The permutation that brings the last axis second."""
    return (0, rank - 1, *range(1, rank - 1))


def behind(rank: int) -> Perm:
    """The permutation that brings the second axis last."""
    return (0, *range(2, rank), 1)


def moves(op: Operator, perm: Perm) -> bool:
    """Whether it permutes axes so: a transpose, or a reshape where only axes of one element move."""
    if op.name == "nn.transpose":
        return bool(op["perm"] == perm)
    shape = op.operands[0].type.shape if op.name == "nn.reshape" else ()
    kept = [p for p in perm if len(shape) == len(perm) and shape[p] != 1]
    return len(shape) == len(perm) and kept == sorted(kept) and op.result.type.shape == _permuted(shape, perm)


def _permuted(shape: tuple[int, ...], perm: Perm) -> tuple[int, ...]:
    return tuple(shape[p] for p in perm)


def _is_moved(value: Value, perm: Perm) -> bool:
    return value.producer is not None and moves(value.producer, perm)


def _guard_early(m: Match) -> None:
    inner = m.op("inner")
    m.need(m.root.result.type.rank > 2, "it has no places")
    m.need(moves(m.root, first(m.root.result.type.rank)), "it does not bring channels second")
    m.need(all(known(v) is not None for v in inner.operands[1:]), "the map reads more than constants", inner)


def _early(m: Match) -> Value:
    """transpose(map(x, c, ...))   ->   map(transpose(x), c', ...)"""
    inner, perm = m.op("inner"), first(m.root.result.type.rank)
    moved = m.new("nn.transpose", [inner.operands[0]], perm=perm)
    extras = [_constant(m, v, perm) for v in inner.operands[1:]]
    return m.new("nn.map", [moved, *extras], epilogue=inner["epilogue"])


def _guard_late(m: Match) -> None:
    rank = m.root.result.type.rank
    m.need(rank > 2, "it has no places")
    m.need(_is_moved(m.root.operands[0], behind(rank)), "no transpose brings its channels last")
    rest = [v for v in m.root.operands[1:] if not _is_moved(v, behind(rank))]
    m.need(all(known(v) is not None for v in rest), "it reads what has another order")


def _late(m: Match) -> Value:
    """map(transpose(x), transpose(y) or c, ...)   ->   transpose(map(x, y or c', ...))"""
    rank = m.root.result.type.rank
    operands = [_before(m, v, rank) for v in m.root.operands]
    made = m.new("nn.map", operands, epilogue=m.root["epilogue"])
    return m.new("nn.transpose", [made], perm=behind(rank))


def _before(m: Match, value: Value, rank: int) -> Value:
    """The value with channels second."""
    if _is_moved(value, behind(rank)):
        assert value.producer is not None, "a transpose makes it"
        return value.producer.operands[0]
    return _constant(m, value, first(rank))


def _constant(m: Match, value: Value, perm: Perm) -> Value:
    """A constant that broadcasts with an image, whose axes are permuted."""
    array = known(value)
    assert array is not None, "the guard wants constants"
    if array.size == 1:
        return value
    whole = array.reshape((1,) * (len(perm) - array.ndim) + array.shape)
    return m.constant(np.ascontiguousarray(whole.transpose(perm)), value.name)


_MOVES = ("nn.transpose", "nn.reshape")
_BACK = ("transpose-of-transpose", "transpose-to-reshape", "reshape-of-reshape", "move-nothing")
"""What leaves nothing of a transpose and its inverse."""

RULES: tuple[Rule, ...] = (
    Rule("channels-second-early", Op(_MOVES, (Op("nn.map", bind="inner", once=True),)), _guard_early, _early),
    Rule("channels-last-late", Op("nn.map"), _guard_late, _late),
)
WITH_OTHERS: tuple[Rule, ...] = (
    *(rule for rule in maps.RULES if rule.name == "tflite-map"),
    *RULES,
    *(rule for rule in movement.RULES if rule.name in _BACK),
)
