"""Straight-line code for a small constant matrix times vectors, as Winograd's transforms need it.

Two symmetries of interpolation at opposite points save half the work: rows that
differ only by signs share their partial sums, and columns that do are combined
before the rows use them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from secateur.codegen.tir import T, splat
from secateur.codegen.vector.shuffles import hold

Expr = Any
Row = tuple[Fraction, ...]
Factors = Mapping[Fraction, Expr]
"""Numbers above 0, each in all lanes."""


def multiply(
    rows: Sequence[Row],
    inputs: Sequence[Expr],
    lanes: int,
    dtype: str = "float32",
    factors: Factors | None = None,
) -> list[Expr]:
    """`rows` times `inputs` (loads of registers); the results are expressions to store at once.

    `factors` may have the numbers of `constants`; others are made here.
    """
    combined, pairs = _combined_columns(rows)
    values = list(inputs)
    for j, k in pairs:
        both = values[j] + values[k], values[j] - values[k]
        values[j], values[k] = (hold(value, lanes, dtype) for value in both)
    sums = _sums(combined)
    found: list[Expr] = [None] * len(sums)
    for number in _ordered([row for row, _ in sums]):
        found[number] = hold(_sum(sums[number][0], values, lanes, dtype, factors or {}), lanes, dtype)
    outputs: list[Expr] = [None] * len(rows)
    for (_, places), (number, value) in zip(sums, enumerate(found), strict=True):
        if len(places) == 1:
            outputs[places[0]] = value
        elif outputs[places[0]] is None:
            outputs[places[0]], outputs[places[1]] = value + found[number + 1], value - found[number + 1]
    return outputs


@dataclass(frozen=True)
class Count:
    """Operations of `multiply`: additions and multiplications, and copies of what one replaces too early."""

    arithmetic: int
    copies: int


def count(rows: Sequence[Row]) -> Count:
    """What `multiply` by `rows` executes."""
    combined, pairs = _combined_columns(rows)
    sums = [(row, places) for row, places in _sums(combined) if any(row)]
    arithmetic, copies = 2 * len(pairs), 0
    left = _ordered([row for row, _ in sums])
    while left:
        row, places = sums[left.pop(0)]
        terms = _terms(row)
        arithmetic += len(terms) - (row[terms[0]] == 1) + (len(places) > 1)
        replaced = _replaced(row)
        copies += replaced is not None and any(sums[other][0][replaced] for other in left)
    return Count(arithmetic, copies)


def constants(rows: Sequence[Row]) -> list[Fraction]:
    """The numbers that `multiply` multiplies by, without signs."""
    used = {abs(c) for row, _ in _sums(_combined_columns(rows)[0]) for c in row}
    return sorted(used - {Fraction(0), Fraction(1)})


def _combined_columns(rows: Sequence[Row]) -> tuple[list[Row], list[tuple[int, int]]]:
    """Columns j, k with |c_j| = |c_k| in every row: of the sum and the difference of their inputs instead."""
    table = [list(row) for row in rows]
    free, pairs = set(range(len(rows[0]))), list[tuple[int, int]]()
    for j in range(len(rows[0])):
        for k in range(j + 1, len(rows[0])):
            if {j, k} <= free and _columns_match(table, j, k):
                free -= {j, k}
                pairs.append((j, k))
                for row in table:
                    equal = row[j] == row[k]
                    row[j], row[k] = (row[j], Fraction(0)) if equal else (Fraction(0), row[j])
    return [tuple(row) for row in table], pairs


def _columns_match(table: list[list[Fraction]], j: int, k: int) -> bool:
    alike = all(abs(row[j]) == abs(row[k]) for row in table)
    used = [row for row in table if row[j]]
    return alike and len(used) > 2


def _sums(rows: Sequence[Row]) -> list[tuple[Row, tuple[int, ...]]]:
    """What is to be summed, and the results that it is; of two rows what they share and what differs, which
    follow each other: their sum and their difference are the results."""
    sums, done = list[tuple[Row, tuple[int, ...]]](), set[int]()
    for i, row in enumerate(rows):
        if i in done:
            continue
        partner = _partner(rows, i)
        if partner is None:
            sums.append((row, (i,)))
            continue
        done.add(partner)
        same = tuple(c if c == d else Fraction(0) for c, d in zip(row, rows[partner], strict=True))
        opposite = tuple(c - s for c, s in zip(row, same, strict=True))
        sums += [(same, (i, partner)), (opposite, (i, partner))]
    return sums


def _partner(rows: Sequence[Row], i: int) -> int | None:
    """A later row that equals row `i` up to signs, with at least one sign equal and one different."""
    for k in range(i + 1, len(rows)):
        pairs = [(c, d) for c, d in zip(rows[i], rows[k], strict=True) if c or d]
        if all(abs(c) == abs(d) for c, d in pairs) and len({c == d for c, d in pairs}) == 2:
            return k
    return None


def _ordered(rows: Sequence[Row]) -> list[int]:
    """Numbers of sums: a multiply-add adds in place, so those that replace an input follow what reads it."""
    order, left = list[int](), list(range(len(rows)))
    while left:
        read = {n: {k for other in left if other != n for k, c in enumerate(rows[other]) if c} for n in left}
        free = (n for n in left if _replaced(rows[n]) not in read[n])
        order.append(next(free, left[0]))
        left.remove(order[-1])
    return order


def _replaced(row: Row) -> int | None:
    """The input that becomes the sum, where its second term is a multiply-add."""
    terms = _terms(row)
    plain = [k for k in terms if abs(row[k]) == 1]
    return terms[0] if row[terms[0]] == 1 and len(terms) > 1 and len(plain) == 1 else None


def _terms(row: Row) -> list[int]:
    """Those with factor 1 first, then those with -1, then those above 0."""
    terms = (k for k, c in enumerate(row) if c)
    return sorted(terms, key=lambda k: (row[k] != 1, abs(row[k]) != 1, row[k] < 0))


def _sum(row: Row, values: Sequence[Expr], lanes: int, dtype: str, factors: Factors) -> Expr:
    """The sum of c * value."""

    def factor(c: Fraction) -> Expr:
        return factors[c] if c in factors else splat(float(c), lanes, dtype)

    def scaled(k: int) -> Expr:
        """Of a factor that lies in a register the value has the sign."""
        if row[k] < 0 and -row[k] in factors:
            return values[k] * splat(-1.0, lanes, dtype), factors[-row[k]]
        return values[k], factor(row[k])

    terms = _terms(row)
    if not terms:
        return splat(0.0, lanes, dtype)
    first, *rest = terms
    total = values[first]
    if row[first] != 1:
        value, by = scaled(first)
        total = value * by
    for k in rest:
        if abs(row[k]) == 1:
            total = total + values[k] if row[k] == 1 else total - values[k]
        else:
            value, by = scaled(k)
            total = T.fma(value, by, total)
    return total
