"""Products of rows by a matrix, which TFLite has on two axes (FULLY_CONNECTED)."""

from __future__ import annotations

from math import prod

from secateur.ir.graph import Value, constant_of
from secateur.ir.rewrite import Match, Op, Rule

from ..integer.parts import known
from .floats import Shape, need_floats, reshaped


def _guard_rows(m: Match) -> None:
    need_floats(m)
    x, w = m.root.operands[:2]
    m.need(x.type.rank > 2 and w.type.rank == 2, "it is no product of rows by one matrix")
    m.need(known(w) is not None, "its matrix is computed")
    shape = m.root.result.type.shape
    fits = all(_row_shape(v.type.shape, shape) is not None for v in m.root.operands[2:])
    m.need(fits, "an operand of its epilogue has neither one number a column nor one a result")


def _row_shape(given: Shape, result: Shape) -> Shape | None:
    """The shape that an epilogue's operand has beside a matrix of rows; None where it has none."""
    if given == result:
        return (prod(result[:-1]), result[-1])
    return (1, *given[-1:]) if given and prod(given[:-1]) == 1 else None


def _rows(m: Match) -> Value:
    """matmul(x: ... x n x k, w: k x m) {steps}   ->   reshape(matmul(reshape(x), w) {steps})

    where w is known, and the steps' operands are one number a column or one a result.
    """
    op, shape = m.root, m.root.result.type.shape
    x = reshaped(m, op.operands[0], (prod(shape[:-1]), op.operands[0].type.shape[-1]))
    extras = [reshaped(m, v, _row_shape(v.type.shape, shape) or (1, 1)) for v in op.operands[2:]]
    made = m.new("nn.matmul", [x, op.operands[1], *extras], epilogue=op["epilogue"])
    return m.new("nn.reshape", [made], shape=shape)


def _guard_columns(m: Match) -> None:
    need_floats(m)
    op = m.root
    m.need(op.result.type.rank == 2, "it is no product of matrices")
    m.need(any(map(_is_row, op.operands[3:])), "no operand of its epilogue but the bias has one axis")


def _is_row(value: Value) -> bool:
    return value.type.rank == 1 and value.type.elements > 1 and constant_of(value) is not None


def _columns(m: Match) -> Value:
    """matmul(x, w, b, c: n) {add, steps}   ->   matmul(x, w, b, c: 1 x n) {add, steps}

    so that the steps have a form in a map.
    """
    op = m.root
    rest = [reshaped(m, v, (1, *v.type.shape)) if _is_row(v) else v for v in op.operands[3:]]
    return m.new("nn.matmul", [*op.operands[:3], *rest], epilogue=op["epilogue"])


RULES: tuple[Rule, ...] = (
    Rule("tflite-rows", Op("nn.matmul"), _guard_rows, _rows),
    Rule("tflite-columns", Op("nn.matmul"), _guard_columns, _columns),
)
