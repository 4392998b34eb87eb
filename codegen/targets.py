"""Targets: what the compiler must know of a processor, as rows of data.

A board's name on the command line is a row of `TARGETS`; nothing else in the
compiler mentions a board. An instruction set gives the vector length and the
number of vector registers, from which every kernel derives its register tile.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Isa:
    """A vector instruction set as the kernels see it."""

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


AVX512 = Isa("avx512", 64, 32)
AVX2 = Isa("avx2", 32, 16)
NEON64 = Isa("neon64", 16, 32)
NEON32 = Isa("neon32", 16, 16)


@dataclass(frozen=True)
class Target:
    """One row: a name, what LLVM and the linker call it, and what its pipeline can do.

    `features` are LLVM feature names that the artifact requires and checks at load.
    `clock_ghz`, `fma_per_cycle` (vector FMAs), the cache sizes (bytes) and
    `dram_gbps` feed the analytic cost model.
    """

    name: str
    triple: str
    zig_triple: str
    cpu: str
    isa: Isa
    features: tuple[str, ...] = ()
    clock_ghz: float = 1.5
    fma_per_cycle: float = 1.0
    l1_bytes: int = 32 << 10
    l2_bytes: int = 512 << 10
    dram_gbps: float = 4.0

    @property
    def lanes(self) -> int:
        return self.isa.lanes
