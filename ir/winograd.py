"""Winograd's minimal filtering matrices by Cook-Toom interpolation, over exact rationals.

    y = A^T [(G g) * (B^T d)]        y_i = sum_k d_(i+k) g_k,  0 <= i < m

with `m` outputs, `r` taps and m + r - 1 multiplications: the transposed form of
polynomial multiplication evaluated at m + r - 2 points and at infinity
(Winograd 1980; Lavin and Gray 2016). Rows of B^T are scaled to integers of no
common factor and G takes the inverse, which leaves the products as they are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

Matrix = tuple[tuple[Fraction, ...], ...]

# Small numbers and their reciprocals lose the least to rounding (Barabasz et al. 2020);
# pairs of opposite points share work in the transforms.
_POINTS = tuple(Fraction(p) for p in ("0", "1", "-1", "2", "-2", "1/2", "-1/2", "4", "-4", "1/4", "-1/4"))


@dataclass(frozen=True)
class Winograd:
    """The matrices of F(outputs, taps): `a_t` (m x n), `g` (n x r), `b_t` (n x n), n = m + r - 1."""

    outputs: int
    taps: int
    a_t: Matrix
    g: Matrix
    b_t: Matrix

    @property
    def tile(self) -> int:
        return self.outputs + self.taps - 1


@cache
def winograd(outputs: int, taps: int = 3, points: tuple[Fraction, ...] | None = None) -> Winograd:
    """F(outputs, taps); ValueError for points that are too few or not distinct."""
    count = outputs + taps - 2
    chosen = _POINTS[:count] if points is None else points
    if outputs < 1 or taps < 1 or len(chosen) != count or len(set(chosen)) != count:
        raise ValueError(f"F({outputs}, {taps}) takes {count} distinct points, got {len(set(chosen))}")
    a_t = tuple((*(p**i for p in chosen), Fraction(i == outputs - 1)) for i in range(outputs))
    b_t = [[*_product([q for q in chosen if q != p]), Fraction(0)] for p in chosen]
    b_t.append(_product(list(chosen)))
    g = [[p**k / math.prod(p - q for q in chosen if q != p) for k in range(taps)] for p in chosen]
    g.append([Fraction(k == taps - 1) for k in range(taps)])
    scales = [_to_integers(row) for row in b_t]
    return Winograd(
        outputs,
        taps,
        a_t,
        tuple(tuple(x / s for x in row) for row, s in zip(g, scales, strict=True)),
        tuple(tuple(x * s for x in row) for row, s in zip(b_t, scales, strict=True)),
    )


_PAIRS = {8: tuple(Fraction(p) for p in ["1/4", "-1/4", "2/3", "-2/3", "1", "-1", "2", "-2"])}
"""Of many points those with the least rounding errors: a fifth of what 1/4, 1/2, 1 and 2 have."""


@cache
def float_winograd(outputs: int, taps: int = 3) -> Winograd:
    """F(outputs, taps) for floats: the matrices that take the fewest instructions.

    Without 0 where that leaves pairs of opposite points alone, with one number of every row of B^T 1 or -1,
    and whole numbers in A^T where points or their reciprocals are whole.
    """
    count = outputs + taps - 2
    plain = winograd(outputs, taps, _PAIRS.get(count, _POINTS[1 : count + 1]) if count % 2 == 0 else None)
    rows = [min(abs(x) for x in row if x) for row in plain.b_t]
    columns = [min(abs(x) for x in column if x) for column in zip(*plain.a_t, strict=True)]
    return _scaled(plain, rows, columns)


_HALF_POINTS = {
    count: tuple(Fraction(p) for p in text.split())
    for count, text in {
        5: "0 5/8 -5/8 3/2 -3/2",
        6: "3/8 -3/8 7/8 -7/8 2 -2",
        7: "0 1/2 -1/2 1 -1 2 -2",
    }.items()
}


@cache
def half_winograd(outputs: int, taps: int = 3) -> Winograd:
    """F(outputs, taps) of 4, 6, 7 or 8 products for binary16: numbers of A^T and B^T are near 1.

    Of 4 or 6 products each is a number of binary16, and at 0, +-5/8, +-3/2 the rounding errors of F(4, 3) are
    a fifth of those at 0, +-1, +-2.
    """
    if outputs + taps - 1 == 4:
        return winograd(outputs, taps)
    return _balanced(winograd(outputs, taps, _HALF_POINTS[outputs + taps - 2]))


def _balanced(given: Winograd) -> Winograd:
    """Rows of B^T and columns of A^T with powers of two taken off, which G is given."""
    columns = zip(*given.a_t, strict=True)
    return _scaled(given, [_power_below(row) for row in given.b_t], [_power_below(c) for c in columns])


def _scaled(given: Winograd, rows: Sequence[Fraction], columns: Sequence[Fraction]) -> Winograd:
    """Rows of B^T and columns of A^T by these numbers, which G is given."""
    factors = [r * c for r, c in zip(rows, columns, strict=True)]
    return Winograd(
        given.outputs,
        given.taps,
        tuple(tuple(x / c for x, c in zip(row, columns, strict=True)) for row in given.a_t),
        tuple(tuple(x * f for x in row) for row, f in zip(given.g, factors, strict=True)),
        tuple(tuple(x / r for x in row) for row, r in zip(given.b_t, rows, strict=True)),
    )


def _power_below(row: Sequence[Fraction]) -> Fraction:
    """The power of two that leaves the largest number of a row between 1 and 2, 1 included."""
    return Fraction(2) ** math.floor(math.log2(max(map(abs, row))))


def _product(roots: list[Fraction]) -> list[Fraction]:
    """Coefficients, lowest power first, of the product of (x - root)."""
    total = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *total]
        total = [s - root * t for s, t in zip(shifted, [*total, Fraction(0)], strict=True)]
    return total


def _to_integers(row: list[Fraction]) -> Fraction:
    """The positive factor that makes a row integer without common factor."""
    denominator = math.lcm(*(x.denominator for x in row))
    return Fraction(denominator, math.gcd(*(int(x * denominator) for x in row)))
