"""Vectors of int16 fractions: the rounding product that x86 and ARM both have, and saturation to bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..targets.isa import Fractions
from ..targets.target import Target
from ..tir import T, splat

Expr = Any

_OFFSET = 128


@dataclass(frozen=True)
class FixedPoint:
    """On vectors of int16, with these instructions."""

    instructions: Fractions

    @property
    def lanes(self) -> int:
        return self.instructions.lanes

    @property
    def _vector(self) -> str:
        return f"int16x{self.lanes}"

    def product(self, a: Expr, b: Expr) -> Expr:
        """(a b + 2^14) >> 15; not both -32768."""
        if self.instructions.product:
            return T.call_llvm_pure_intrin(self._vector, self.instructions.product, a, b)
        wide = f"int32x{self.lanes}"
        half, bits = (splat(v, self.lanes, "int32") for v in (1 << 14, 15))
        return ((a.astype(wide) * b.astype(wide) + half) >> bits).astype(self._vector)

    def packed(self, a: Expr, b: Expr) -> Expr:
        """a + 128 and b + 128 limited to bytes, in the order of `order`; both below 2^15 - 128."""
        offset = splat(_OFFSET, self.lanes, "int16")
        bytes_ = f"uint8x{2 * self.lanes}"
        if self.instructions.pack:
            packed = T.call_llvm_pure_intrin(
                f"int8x{2 * self.lanes}", self.instructions.pack, a + offset, b + offset
            )
            return T.reinterpret(bytes_, packed)
        low, high = (splat(v, self.lanes, "int16") for v in (0, 255))
        limited = [T.max(low, T.min(high, v + offset)).astype(f"uint8x{self.lanes}") for v in (a, b)]
        return T.Shuffle(limited, list(range(2 * self.lanes)))

    def limited(self, a: Expr) -> Expr:
        """Limited to signed bytes."""
        low, high = (splat(v, self.lanes, "int16") for v in (-_OFFSET, _OFFSET - 1))
        return T.reinterpret(f"uint8x{self.lanes}", T.max(low, T.min(high, a)).astype(f"int8x{self.lanes}"))

    def order(self) -> list[int]:
        """Which of the elements of (a, b) each byte of `packed` is: instructions stay within 128 bits."""
        if not self.instructions.pack:
            return list(range(2 * self.lanes))
        parts = range(0, self.lanes, 8)
        return [k for at in parts for start in (at, self.lanes + at) for k in range(start, start + 8)]


def fixed_point(target: Target, channels: int) -> FixedPoint:
    """The widest vectors of which two hold a part of `channels`, a multiple of 16."""
    return FixedPoint([f for f in target.isa.fractions if channels % (2 * f.lanes) == 0][-1])
