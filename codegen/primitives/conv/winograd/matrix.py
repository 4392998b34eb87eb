"""Straight-line code for a small constant matrix times vectors, as Winograd's transforms need it.

Two symmetries of interpolation at opposite points save half the work: rows that
differ only by signs share their partial sums, and columns that do are combined
before the rows use them.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from secateur.codegen.tir import T, splat
from secateur.codegen.vector.shuffles import hold

Expr = Any
Row = tuple[Fraction, ...]


def multiply(rows: Sequence[Row], inputs: Sequence[Expr], lanes: int, dtype: str = "float32") -> list[Expr]:
    """`rows` times `inputs` (loads of registers); the results are expressions to store at once."""
    combined, values = _combine_columns(rows, list(inputs), lanes, dtype)
    outputs: list[Expr] = [None] * len(rows)
    for i, row in enumerate(combined):
        if outputs[i] is not None:
            continue
        partner = _partner(combined, i)
        if partner is None:
            outputs[i] = _sum(row, values, lanes, dtype)
            continue
        same = tuple(c if c == d else Fraction(0) for c, d in zip(row, combined[partner], strict=True))
        opposite = tuple(c - s for c, s in zip(row, same, strict=True))
        even, odd = (hold(_sum(part, values, lanes, dtype), lanes, dtype) for part in (same, opposite))
        outputs[i], outputs[partner] = even + odd, even - odd
    return outputs


def _combine_columns(
    rows: Sequence[Row], inputs: list[Expr], lanes: int, dtype: str
) -> tuple[list[Row], list[Expr]]:
    """Replaces columns j, k with |c_j| = |c_k| in every row by the sum and the difference of their inputs."""
    table = [list(row) for row in rows]
    values = list(inputs)
    free = set(range(len(inputs)))
    for j in range(len(inputs)):
        for k in range(j + 1, len(inputs)):
            if {j, k} <= free and _columns_match(table, j, k):
                free -= {j, k}
                values[j], values[k] = (
                    hold(values[j] + values[k], lanes, dtype),
                    hold(values[j] - values[k], lanes, dtype),
                )
                for row in table:
                    equal = row[j] == row[k]
                    row[j], row[k] = (row[j], Fraction(0)) if equal else (Fraction(0), row[j])
    return [tuple(row) for row in table], values


def _columns_match(table: list[list[Fraction]], j: int, k: int) -> bool:
    alike = all(abs(row[j]) == abs(row[k]) for row in table)
    used = [row for row in table if row[j]]
    return alike and len(used) > 2


def _partner(rows: Sequence[Row], i: int) -> int | None:
    """A later row that equals row `i` up to signs, with at least one sign equal and one different."""
    for k in range(i + 1, len(rows)):
        pairs = [(c, d) for c, d in zip(rows[i], rows[k], strict=True) if c or d]
        if all(abs(c) == abs(d) for c, d in pairs) and len({c == d for c, d in pairs}) == 2:
            return k
    return None


def _sum(row: Row, values: Sequence[Expr], lanes: int, dtype: str) -> Expr:
    """The sum of c * value, from the terms with factor 1 on."""
    terms = sorted(
        ((c, v) for c, v in zip(row, values, strict=True) if c), key=lambda t: (t[0] != 1, abs(t[0]) != 1)
    )
    if not terms:
        return splat(0.0, lanes, dtype)
    c, value = terms[0]
    total = value if c == 1 else value * splat(float(c), lanes, dtype)
    for c, value in terms[1:]:
        if abs(c) == 1:
            total = total + value if c == 1 else total - value
        else:
            total = T.fma(value, splat(float(c), lanes, dtype), total)
    return total
