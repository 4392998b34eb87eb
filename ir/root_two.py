"""F(4, 3) at the points 0, +-sqrt 2, +-1/sqrt 2 and infinity, exact over numbers a + b sqrt 2.

At these points the taps of a tile come out nearer in size than at 0, +-1, +-2,
so 8 bits in the Winograd domain lose some 6 dB less (`docs/passes.md`), and each
pair of points costs one multiplication by 1/sqrt 2 more.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import sqrt

Row = tuple["Surd", ...]


@dataclass(frozen=True)
class Surd:
    """whole + root sqrt 2."""

    whole: Fraction = Fraction(0)
    root: Fraction = Fraction(0)

    def __add__(self, other: Surd) -> Surd:
        return Surd(self.whole + other.whole, self.root + other.root)

    def __sub__(self, other: Surd) -> Surd:
        return Surd(self.whole - other.whole, self.root - other.root)

    def __mul__(self, other: Surd) -> Surd:
        whole = self.whole * other.whole + 2 * self.root * other.root
        return Surd(whole, self.whole * other.root + self.root * other.whole)

    def __truediv__(self, other: Surd) -> Surd:
        """ZeroDivisionError for a divisor of 0."""
        norm = other.whole**2 - 2 * other.root**2
        return self * Surd(other.whole / norm, -other.root / norm)

    def __float__(self) -> float:
        return float(self.whole) + float(self.root) * sqrt(2)


ZERO, ONE, ROOT = Surd(), Surd(Fraction(1)), Surd(root=Fraction(1))


@dataclass(frozen=True)
class RootTwo:
    """The matrices of F(4, 3): `a_t` (4 x 6), `g` (6 x 3), `b_t` (6 x 6)."""

    a_t: tuple[Row, ...]
    g: tuple[Row, ...]
    b_t: tuple[Row, ...]


def _row(*values: str, by: Surd = ONE) -> Row:
    return tuple(Surd(Fraction(v)) * by for v in values)


def _plus(a: Row, b: Row) -> Row:
    return tuple(x + y for x, y in zip(a, b, strict=True))


def _minus(a: Row, b: Row) -> Row:
    return tuple(x - y for x, y in zip(a, b, strict=True))


@cache
def root_two() -> RootTwo:
    """Rows of B^T and columns of A^T are scaled for short arithmetic, G makes up for it."""
    half = ROOT / Surd(Fraction(2))
    a, b = _row("0", "0", "-1", "0", "2", "0", by=half), _row("0", "-1", "0", "2", "0", "0")
    e, o = _row("0", "0", "-2", "0", "1", "0"), _row("0", "-2", "0", "1", "0", "0", by=half)
    b_t = (
        _row("2", "0", "-5", "0", "2", "0"),
        _plus(a, b),
        _minus(a, b),
        _plus(e, o),
        _minus(e, o),
        _row("0", "2", "0", "-5", "0", "2"),
    )
    a_t = (
        _row("1", "1/2", "1/2", "1", "1", "0"),
        _row("0", "1", "-1", "1", "-1", "0", by=half),
        _row("0", "1", "1", "1/2", "1/2", "0"),
        _row("0", "1", "-1", "1/4", "-1/4", "1", by=ROOT),
    )
    return RootTwo(a_t, _kernel_matrix(), b_t)


def _kernel_matrix() -> tuple[Row, ...]:
    """Each point p's row is (1, p, p^2) times what the rows of B^T and columns of A^T ask for."""
    large, small = Surd(root=Fraction(1, 6)), Surd(Fraction(-2, 3))
    far, near = ROOT, ROOT / Surd(Fraction(2))
    return (
        _row("1/2", "0", "0"),
        _powers(far, large),
        _powers(ZERO - far, large),
        _powers(near, small),
        _powers(ZERO - near, small),
        _row("0", "0", "1/4", by=ROOT),
    )


def _powers(point: Surd, by: Surd) -> Row:
    return (by, by * point, by * point * point)
