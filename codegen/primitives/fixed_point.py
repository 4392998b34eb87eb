"""Vectors of int16 fractions: the rounding product that x86 and ARM both have, and saturation to bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..targets import Target

Expr = Any

_X86 = {
    8: "llvm.x86.ssse3.pmul.hr.sw.128",
    16: "llvm.x86.avx2.pmul.hr.sw",
    32: "llvm.x86.avx512.pmul.hr.sw.512",
}
_ARM = {"aarch64": "llvm.aarch64.neon.sqrdmulh.v8i16", "armv7": "llvm.arm.neon.vqrdmulh.v8i16"}


@dataclass(frozen=True)
class FixedPoint:
    """Of one target. `lanes` int16 are its natural vector for it."""

    architecture: str  # the triple's first word
    lanes: int

    def product(self, a: Expr, b: Expr, lanes: int) -> Expr:
        """(a b + 2^14) >> 15 of int16 vectors; not both -32768."""
        from ..tvm_adapter import T

        vector = f"int16x{lanes}"
        if self.architecture == "x86_64" and lanes in _X86 and lanes <= self.lanes:
            return T.call_llvm_pure_intrin(vector, _X86[lanes], a, b)
        if lanes == 8:
            return T.call_llvm_pure_intrin(vector, _ARM[self.architecture], a, b)
        raise ValueError(f"no product of {lanes} lanes")

    def offset_bytes(self, a: Expr, lanes: int) -> Expr:
        """a + 128 limited to a byte; a below 2^15 - 128."""
        from ..tvm_adapter import T, splat

        def constant(value: int) -> Expr:
            return splat(value, lanes, "int16")

        limited = T.max(constant(0), T.min(constant(255), a + constant(128)))
        return limited.astype(f"uint8x{lanes}")


def fixed_point(target: Target) -> FixedPoint:
    return FixedPoint(target.triple.split("-")[0], target.isa.vector_bytes // 2)
