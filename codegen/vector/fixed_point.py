"""Vectors of int16 fractions: the rounding product that x86 and ARM both have, and saturation to bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..targets.target import Target
from ..tir import T, splat

Expr = Any

_X86 = {
    8: ("llvm.x86.ssse3.pmul.hr.sw.128", "llvm.x86.sse2.packuswb.128"),
    16: ("llvm.x86.avx2.pmul.hr.sw", "llvm.x86.avx2.packuswb"),
    32: ("llvm.x86.avx512.pmul.hr.sw.512", "llvm.x86.avx512.packuswb.512"),
}
_ARM = {"aarch64": "llvm.aarch64.neon.sqrdmulh.v8i16", "armv7": "llvm.arm.neon.vqrdmulh.v8i16"}
_OFFSET = 128


@dataclass(frozen=True)
class FixedPoint:
    """On vectors of `lanes` int16 of one architecture (the first word of its triple)."""

    architecture: str
    lanes: int

    @property
    def _vector(self) -> str:
        return f"int16x{self.lanes}"

    def product(self, a: Expr, b: Expr) -> Expr:
        """(a b + 2^14) >> 15; not both -32768."""
        name = _X86[self.lanes][0] if self.architecture == "x86_64" else _ARM[self.architecture]
        return T.call_llvm_pure_intrin(self._vector, name, a, b)

    def packed(self, a: Expr, b: Expr) -> Expr:
        """a + 128 and b + 128 limited to bytes, in the order of `order`; both below 2^15 - 128."""
        offset = splat(_OFFSET, self.lanes, "int16")
        bytes_ = f"uint8x{2 * self.lanes}"
        if self.architecture == "x86_64":
            packed = T.call_llvm_pure_intrin(
                f"int8x{2 * self.lanes}", _X86[self.lanes][1], a + offset, b + offset
            )
            return T.reinterpret(bytes_, packed)
        low, high = (splat(v, self.lanes, "int16") for v in (0, 255))
        limited = [T.max(low, T.min(high, v + offset)).astype(f"uint8x{self.lanes}") for v in (a, b)]
        return T.Shuffle(limited, list(range(2 * self.lanes)))

    def order(self) -> list[int]:
        """Which of the elements of (a, b) each byte of `packed` is: x86 packs within parts of 128 bits."""
        if self.architecture != "x86_64":
            return list(range(2 * self.lanes))
        parts = range(0, self.lanes, 8)
        return [k for at in parts for start in (at, self.lanes + at) for k in range(start, start + 8)]


def fixed_point(target: Target, channels: int) -> FixedPoint:
    """The widest vectors of which two hold a part of `channels`, a multiple of 16."""
    widest = target.isa.vector_bytes // 2
    fitting = [lanes for lanes in (8, 16, 32) if lanes <= widest and channels % (2 * lanes) == 0]
    return FixedPoint(target.triple.split("-")[0], fitting[-1])
