"""Operators that move data and their quantizations: the move is done on stored integers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from secateur.ir.graph import Operator, Value
from secateur.ir.interpreter import evaluate
from secateur.ir.ops.quantize import quant_attributes
from secateur.ir.registry import create
from secateur.ir.rewrite import Array, Const, Match, Op, Rule
from secateur.ir.types import DType, Quant

from .bytes import MOVES, need_move
from .parts import need_bytes, need_result, real_number, stored_number


def _float_operands(op: Operator) -> list[Value]:
    return [v for v in op.operands if v.type.dtype.is_float]


def _need_sources(m: Match) -> list[Value]:
    """The quantized values behind the root's float operands, all of one quantization."""
    m.need(m.root.result.type.dtype == DType.F32, "only f32 is quantized")
    found = [need_bytes(m, v, "operand") for v in _float_operands(m.root)]
    m.need(len({v.type.quant for v in found}) == 1, "its operands have different quantizations")
    return found


def _whole_windows(op: Operator) -> bool:
    """Whether every window or reduction meets an element."""
    if op.name == "nn.max_pool":
        n = len(op["kernel"])
        return all(p < op["kernel"][i % n] for i, p in enumerate(op["pads"]))
    return op.operands[0].type.elements > 0


def _padding(op: Operator) -> bool:
    return op.name == "nn.pad" and op["mode"] == "constant"


def _need_quant(m: Match) -> Quant:
    quant = _need_sources(m)[0].type.quant
    assert quant is not None
    return quant


def _guard_sink(m: Match) -> None:
    need_move(m, m.root)
    quant = _need_quant(m)
    m.need(_whole_windows(m.root), "a window may lie in the padding alone")
    if _padding(m.root):
        value = m.root["value"]
        back = real_number(stored_number(value, quant), quant)
        m.need(back == np.float32(value), f"what it pads with, {value:g}, has no exact integer")


def _stored_attributes(op: Operator, quant: Quant) -> dict[str, Any]:
    """The move's attributes on stored integers: a padding's value is one."""
    if not _padding(op):
        return op.attributes
    return {**op.attributes, "value": float(stored_number(op["value"], quant))}


def _sink(m: Match) -> Value:
    """move(dequantize(x), ...)   ->   dequantize(move(x, ...))

    where move only moves or selects elements, its float operands are all dequantized from u8 with one scale
    and zero point, and what it pads with has an exact integer.
    """
    stored: Iterator[Value] = iter(_need_sources(m))
    operands = [next(stored) if v.type.dtype.is_float else v for v in m.root.operands]
    moved = m.new(m.root.name, operands, **_stored_attributes(m.root, _need_quant(m)))
    return m.new("q.dequantize", [moved])


def _guard_hoist(m: Match) -> None:
    move = m.op("move")
    need_move(m, move)
    need_result(m)
    m.need(move.result.type.dtype == DType.F32, "only f32 is quantized", move)
    m.need(all(v.type.elements > 0 for v in move.operands), "an operand has no elements", move)


def _hoist(m: Match) -> Value:
    """quantize(move(x, ...))   ->   move(quantize(x), ...)

    where move only moves or selects elements, its result has no other use, and the quantization is u8 with
    one scale: quantizing is monotonic, so maxima stay maxima.
    """
    move, quant = m.op("move"), need_result(m)
    attributes: dict[str, Any] = {"dtype": DType.U8, **quant_attributes(quant)}
    operands = [m.new("q.quantize", [v], **attributes) if v.type.dtype.is_float else v for v in move.operands]
    return m.new(move.name, operands, **_stored_attributes(move, quant))


def _moved_axis(op: Operator, axis: int) -> int | None:
    """Where the axis of the scales is after a transpose or reshape; None where the reshape breaks it."""
    before, after = op.operands[0].type.shape, op.result.type.shape
    if op.name == "nn.transpose":
        return int(op["perm"].index(axis))
    ahead = [prod(after[:i]) for i in range(len(after))]
    wanted = prod(before[:axis])
    fits = (i for i, d in enumerate(after) if ahead[i] == wanted and d == before[axis])
    return next(fits, None)


def _moved_quant(m: Match) -> Quant:
    quant = m.value("c").type.quant
    m.need(quant is not None, "the constant is not quantized")
    assert quant is not None
    if quant.axis is None:
        return quant
    axis = _moved_axis(m.root, quant.axis)
    m.need(axis is not None, "the reshape breaks the axis of the scales")
    return replace(quant, axis=axis)


def _guard_move_constant(m: Match) -> None:
    _moved_quant(m)


def _move_constant(m: Match) -> Value:
    """move(dequantize(c))   ->   dequantize(c moved)

    where c is constant and move a transpose, or a reshape that keeps the axis of c's scales.
    """
    moved = m.constant(moved_array(m.root, m.array("c")), m.value("c").name)
    moved.type = replace(moved.type, quant=_moved_quant(m))
    return m.new("q.dequantize", [moved], dtype=m.root.operands[0].type.dtype)


def moved_array(op: Operator, array: Array) -> Array:
    """What the move makes of stored integers."""
    given = create("nn.constant", [], {"value": array})
    return np.ascontiguousarray(evaluate(create(op.name, given.results, op.attributes), [array])[0])


RULES: tuple[Rule, ...] = (
    Rule(
        "move-constant",
        Op(("nn.transpose", "nn.reshape"), (Op("q.dequantize", (Const("c"),)),)),
        _guard_move_constant,
        _move_constant,
    ),
    Rule("dequantize-after-move", Op(MOVES, (Op("q.dequantize"),)), _guard_sink, _sink),
    Rule(
        "quantize-before-move",
        Op("q.quantize", (Op(MOVES, (), "move", once=True),)),
        _guard_hoist,
        _hoist,
    ),
)
