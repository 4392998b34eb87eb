"""Vector instruction sets, as the kernels see them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Isa:
    """A vector instruction set: from it every kernel derives its register tile."""

    name: str
    vector_bytes: int
    vector_registers: int

    def __post_init__(self) -> None:
        if self.vector_bytes & (self.vector_bytes - 1) or self.vector_registers < 8:
            raise ValueError(f"{self.name}: vectors are a power of two bytes, registers at least 8")

    @property
    def lanes(self) -> int:
        """float32 lanes of one vector; also the channel block of blocked layouts."""
        return self.vector_bytes // 4


SSE = Isa("sse", 16, 16)
AVX512 = Isa("avx512", 64, 32)
AVX2 = Isa("avx2", 32, 16)
NEON64 = Isa("neon64", 16, 32)
NEON32 = Isa("neon32", 16, 16)
