"""8-bit values: signs turned to unsigned, and quantizations that cancel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from secateur.ir.graph import Operator, Value, constant_of
from secateur.ir.ops.quantize import quant_attributes
from secateur.ir.registry import registry
from secateur.ir.rewrite import Any_, Const, Match, Op, Rule
from secateur.ir.types import DType, Quant

from .parts import byte_quant, one_scale

MOVES = tuple(sorted(name for name, op in registry().items() if op.moves and name != "nn.relayout"))
_SIGN = np.arange(256) ^ 0x80


def need_move(m: Match, op: Operator) -> None:
    """Refuses an operator of `MOVES` whose attributes make it compute elements anew."""
    m.need(op.definition.is_move(op.attributes), "it mixes elements, or makes new ones", op)


def _shifted(quant: Quant, by: int) -> Quant:
    return replace(quant, zero_points=tuple(z + by for z in quant.zero_points))


def _flip(m: Match, x: Value, to: DType) -> Value:
    """`x` with its other signedness: the same reals, stored integers and zero point moved by 128."""
    assert x.type.quant is not None
    quant = _shifted(x.type.quant, 128 if to == DType.U8 else -128)
    table = m.constant(_SIGN.astype(np.uint8).view(to.numpy), "sign")
    return m.new("q.table", [x, table], **quant_attributes(quant))


def _guard_signed_result(m: Match) -> None:
    m.need(one_scale(m.root.result.type, DType.I8), "the result is not i8 with one scale")


def _signed_result(m: Match) -> Value:
    """quantize(x) {i8, s, z}   ->   table(quantize(x) {u8, s, z + 128}, sign flipped)"""
    quant = m.root.result.type.quant
    assert quant is not None
    unsigned = _shifted(quant, 128)
    made = m.new("q.quantize", m.root.operands, dtype=DType.U8, **quant_attributes(unsigned))
    return _flip(m, made, DType.I8)


def _guard_signed_operand(m: Match) -> None:
    x = m.value("x")
    m.need(one_scale(x.type, DType.I8), "the operand is not i8 with one scale")
    m.need(constant_of(x) is None, "the operand is a constant")


def _signed_operand(m: Match) -> Value:
    """dequantize(x: i8, z)   ->   dequantize(table(x, sign flipped): u8, z + 128)

    where x has one scale and is no constant.
    """
    return m.new("q.dequantize", [_flip(m, m.value("x"), DType.U8)], dtype=m.root["dtype"])


def _guard_composed(m: Match) -> None:
    named = m.root["function"] or m.op("inner")["function"]
    m.need(not named, "a table names its function, which is an operator of its own in TFLite")


def _composed(m: Match) -> Value:
    """table(table(x, t), u)   ->   table(x, u[t])

    where neither names a function.
    """
    inner, outer = m.array("t"), m.array("u")
    quant = m.root.result.type.quant
    assert quant is not None
    return m.new(
        "q.table", [m.value("x"), m.constant(outer[inner.view(np.uint8)])], **quant_attributes(quant)
    )


def _guard_gather(m: Match) -> None:
    x, gather = m.value("x"), m.op("gather")
    m.need(x.type.dtype in (DType.I8, DType.U8), f"the index comes from {x.type.dtype.value}, not a byte")
    m.need(m.array("t").shape == (256,), f"{m.array('t').shape} is not one element for each byte", gather)
    m.need(m.root["axis"] == -1, "the result has more than one scale")


def _gather(m: Match) -> Value:
    """annotate(gather(t, cast(x)))   ->   table(x, t)

    where x has 8 bits, t 256 elements, and the result one scale: negative indices count from the end, as
    bytes read as unsigned do.
    """
    quant = m.root.result.type.quant
    assert quant is not None
    return m.new("q.table", [m.value("x"), m.value("t")], **quant_attributes(quant))


def _guard_annotated_move(m: Match) -> None:
    move, annotated = m.op("move"), m.root.result.type
    need_move(m, move)
    m.need(m.root["axis"] == -1, "the result has more than one scale")
    stored = [v.type for v in move.operands if v.type.dtype == annotated.dtype]
    m.need(all(t.quant in (None, annotated.quant) for t in stored), "an operand is quantized otherwise", move)


def _annotated_move(m: Match) -> Value:
    """annotate(move(x, ...))   ->   move(annotate(x), ...)

    where move only moves or selects elements, its result has no other use, and no operand is quantized
    otherwise; one that is quantized so already stays as it is.
    """
    move, annotated = m.op("move"), m.root.result.type
    assert annotated.quant is not None
    attributes = quant_attributes(annotated.quant)
    operands = [
        m.new("q.annotate", [v], **attributes)
        if v.type.dtype == annotated.dtype and v.type.quant is None
        else v
        for v in move.operands
    ]
    return m.new(move.name, operands, **move.attributes)


def _guard_identity(m: Match) -> None:
    table = m.array("t")
    m.need(bool((table.view(np.uint8) == np.arange(256)).all()), "the table changes the byte")
    m.need(m.value("x").type == m.root.result.type, "the table changes the type")


def _identity(m: Match) -> Value:
    """table(x, 0, 1, 2, ...)   ->   x

    where the result has x's type.
    """
    return m.value("x")


def _guard_sign_of_moved(m: Match) -> None:
    moved = m.op("move")
    need_move(m, moved)
    bytes_ = m.array("t").view(np.uint8)
    m.need(bool((bytes_ == _SIGN).all()), "the table is no change of sign")
    m.need(one_scale(moved.result.type, DType.I8), "the operand is not i8 with one scale", moved)
    m.need(moved.name != "nn.pad" or moved["mode"] != "constant", "the padding's value has a sign", moved)


def _sign_of_moved(m: Match) -> Value:
    """table(move(x, ...), sign flipped)   ->   move(table(x, sign flipped), ...)

    where move only moves or selects elements of i8 with one scale, and its result has no other use.
    """
    move = m.op("move")
    operands = [_flip(m, v, DType.U8) if v.type.dtype == DType.I8 else v for v in move.operands]
    return m.new(move.name, operands, **move.attributes)


def _guard_sign_of_quantized(m: Match) -> None:
    m.need(m.root.result.type.dtype == DType.I8, "the result is not i8")
    bytes_ = m.array("t").view(np.uint8)
    m.need(bool((bytes_ == _SIGN).all()), "the table is no change of sign")
    m.need(byte_quant(m.op("inner").result.type) is not None, "the operand is not u8 with one scale")


def _sign_of_quantized(m: Match) -> Value:
    """table(quantize(x) {u8, s, z}, sign flipped)   ->   quantize(x) {i8, s, z - 128}

    where the quantize's result has no other use.
    """
    quant = m.root.result.type.quant
    assert quant is not None
    return m.new("q.quantize", m.op("inner").operands, dtype=DType.I8, **quant_attributes(quant))


def _guard_cancel(m: Match) -> None:
    m.need(m.value("x").type == m.root.result.type, "the two quantizations differ")


def _cancel(m: Match) -> Value:
    """quantize(dequantize(x))   ->   x

    where x has the quantization of the result. Exact: in float32 a stored integer comes back from its real.
    """
    return m.value("x")


_X = Any_("x")
_FLIP = Const("t")

UNSIGNED: tuple[Rule, ...] = (
    Rule(
        "table-of-gather",
        Op("q.annotate", (Op("nn.gather", (Const("t"), Op("nn.cast", (_X,))), "gather"),)),
        _guard_gather,
        _gather,
    ),
    Rule(
        "annotate-before-move",
        Op("q.annotate", (Op(MOVES, (), "move", once=True),)),
        _guard_annotated_move,
        _annotated_move,
    ),
    Rule("signed-result", Op("q.quantize"), _guard_signed_result, _signed_result),
    Rule("signed-operand", Op("q.dequantize", (_X,)), _guard_signed_operand, _signed_operand),
)
COMPOSED: tuple[Rule, ...] = (
    Rule(
        "table-of-table",
        Op("q.table", (Op("q.table", (_X, Const("t")), "inner"), Const("u"))),
        _guard_composed,
        _composed,
    ),
    Rule("table-nothing", Op("q.table", (_X, _FLIP)), _guard_identity, _identity),
)
MOVED: tuple[Rule, ...] = (
    Rule(
        "sign-of-moved",
        Op("q.table", (Op(MOVES, (), "move", once=True), _FLIP)),
        _guard_sign_of_moved,
        _sign_of_moved,
    ),
)
CANCEL: tuple[Rule, ...] = (
    Rule("quantize-of-dequantize", Op("q.quantize", (Op("q.dequantize", (_X,)),)), _guard_cancel, _cancel),
)
SIGNED: tuple[Rule, ...] = (
    Rule(
        "sign-of-quantized",
        Op("q.table", (Op("q.quantize", (), "inner", once=True), _FLIP)),
        _guard_sign_of_quantized,
        _sign_of_quantized,
    ),
)
