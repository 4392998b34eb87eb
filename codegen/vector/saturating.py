"""Vectors of int16 whose sums saturate: what makes them of int32, and unsigned bytes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..targets.isa import Fractions, Shifts
from ..targets.target import Target
from ..tir import T, splat
from .fixed_point import FixedPoint
from .shuffles import hold

Expr = Any

_MOST = 16  # lanes: results are stored in blocks of so many


@dataclass(frozen=True)
class Saturating:
    """Of `lanes`, with the rounding product of `fixed` and the target's `shifts`, where it has them."""

    lanes: int
    fixed: FixedPoint
    shifts: Shifts | None = None

    def hold(self, value: Expr) -> Expr:
        """In a register."""
        return hold(value, self.lanes, "int16")

    def splat(self, value: int) -> Expr:
        return splat(value, self.lanes, "int16")

    def add(self, a: Expr, b: Expr) -> Expr:
        return self._called("sadd", a, b)

    def less(self, a: Expr, b: Expr) -> Expr:
        return self._called("ssub", a, b)

    def _called(self, what: str, a: Expr, b: Expr) -> Expr:
        kind, name = f"int16x{self.lanes}", f"llvm.{what}.sat.v{self.lanes}i16"
        return self.hold(T.call_llvm_pure_intrin(kind, name, a, b))

    def shifted(self, value: Expr, by: int) -> Expr:
        """Rounded down."""
        return value >> self.splat(by)

    def product(self, a: Expr, b: Expr) -> Expr:
        """(a b + 2^14) >> 15; not both -32768."""
        return self.fixed.product(a, b)

    def of_sums(self, sums: Sequence[Expr], lanes: int, by: int, factor: Expr) -> Expr:
        """Vectors of so many int32 side by side, shifted with halves up, limited, and their products."""
        words, whole = [self._word(v, lanes, by) for v in sums], lanes * len(sums)
        if len(words) > 1 or self.shifts is None:
            joined = words[0] if len(words) == 1 else T.Shuffle(words, list(range(whole)))
            fixed = self.fixed if whole == self.lanes else FixedPoint(Fractions(whole, ""))
            return fixed.product(hold(joined, whole, "int16"), factor)
        return T.call_llvm_pure_intrin(f"int16x{lanes}", self.shifts.product, words[0], factor)

    def _word(self, total: Expr, lanes: int, by: int) -> Expr:
        if self.shifts is not None:
            return T.call_llvm_pure_intrin(f"int16x{lanes}", self.shifts.words, total, T.int32(by))
        half, bits, low, high = (
            splat(v, lanes, "int32") for v in (1 << by >> 1, by, -(1 << 15), (1 << 15) - 1)
        )
        rounded = hold((hold(total, lanes, "int32") + half) >> bits, lanes, "int32")
        limited = hold(T.max(low, T.min(high, rounded)), lanes, "int32")
        return hold(limited.astype(f"int16x{lanes}"), lanes, "int16")

    def bytes(self, words: Expr, by: int) -> Expr:
        """Shifted with halves up, and limited: what is lost where that saturates is over 255 anyway."""
        kind = f"uint8x{self.lanes}"
        if self.shifts is not None:
            return T.call_llvm_pure_intrin(kind, self.shifts.bytes, words, T.int32(by))
        rounded = self.hold(self.shifted(self.add(words, self.splat(1 << by >> 1)), by))
        return T.max(self.splat(0), self.hold(T.min(self.splat(255), rounded))).astype(kind)


def saturating(target: Target) -> Saturating:
    """The target's widest vectors that do not exceed a block of results."""
    chosen = [f for f in target.isa.fractions if f.lanes <= _MOST][-1]
    return Saturating(chosen.lanes, FixedPoint(chosen), target.isa.shifts)
