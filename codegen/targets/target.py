"""What the compiler must know of a machine to compile for it: a name, the machine, its rates.

Machines are classes of `machine.py`; the class says which backend compiles for it (`codegen/backends`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from .isa import Isa
from .machine import Cpu, Cuda, Machine

__all__ = ["Cpu", "Cuda", "GpuRates", "Machine", "Rates", "Target"]


@dataclass(frozen=True)
class Rates:
    """What a machine's pipeline and caches can do, for analytic cost models.

    `fma_per_cycle` counts vector FMAs, sizes are bytes; a third-level cache of 0 bytes is none.
    `dot_per_cycle` counts vector operations of the bytes' product where that is not the instruction set's.
    An SD card is read at `card_gbps`.
    """

    clock_ghz: float = 1.5
    fma_per_cycle: float = 1.0
    l1_bytes: int = 32 << 10
    l2_bytes: int = 512 << 10
    dram_gbps: float = 4.0
    l3_bytes: int = 0
    l3_gbps: float = 0.0
    dot_per_cycle: float | None = None
    card_gbps: float = 0.09

    def far_gbps(self, moved: float) -> float:
        """GB/s of `moved` bytes from beyond the second-level cache."""
        return self.l3_gbps if self.l3_bytes and moved <= self.l3_bytes else self.dram_gbps


@dataclass(frozen=True)
class GpuRates:
    """What a GPU can do, for the analytic cost model; rates are of a multiprocessor and a cycle.

    `fma` counts float32 multiply-adds, `half2` instructions on pairs of binary16, `dot` `dp4a`s, `matrix`
    multiply-adds of bytes in matrix instructions; 0 is none. `launch_seconds` is from one kernel to the next.
    """

    multiprocessors: int
    clock_ghz: float
    fma: int
    half2: int
    dot: int
    matrix: int
    l2_bytes: int
    l2_gbps: float
    dram_gbps: float
    launch_seconds: float = 4e-6


@dataclass(frozen=True)
class Target:
    """One row: a name on the command line, a machine, and its rates.

    Kernels of processors ask for a processor's facts often, so these stand here too (from `cpu` on); each
    raises TypeError for another class of machine.
    """

    name: str
    machine: Machine
    rates: Rates = Rates()
    gpu_rates: GpuRates | None = None

    def __hash__(self) -> int:
        """Estimates are looked up by targets all the time, and few of a name differ."""
        return hash(self.name)

    @property
    def cuda(self) -> Cuda:
        """The GPU; TypeError where the machine is none."""
        if not isinstance(self.machine, Cuda):
            raise TypeError(f"{self.name} is no GPU")
        return self.machine

    @property
    def gpu(self) -> GpuRates:
        """The GPU's rates; TypeError where the machine is none."""
        if self.gpu_rates is None:
            raise TypeError(f"{self.name} is no GPU")
        return self.gpu_rates

    @property
    def host(self) -> Cpu:
        """The processor that runs an artifact's own code; TypeError where the machine has none."""
        if not isinstance(self.machine, (Cpu, Cuda)):
            raise TypeError(f"{self.name} has no processor")
        return self.machine.host

    @cached_property
    def cpu(self) -> Cpu:
        if not isinstance(self.machine, Cpu):
            raise TypeError(f"{self.name} is no processor")
        return self.machine

    @property
    def triple(self) -> str:
        return self.cpu.triple

    @cached_property
    def isa(self) -> Isa:
        return self.cpu.isa

    @property
    def slow_bytes(self) -> tuple[float, float] | None:
        """Billions of multiply-adds a second of bytes, and in binary16; None where bytes are fast."""
        if not isinstance(self.machine, Cuda) or self.machine.architecture.dot:
            return None
        cycles = self.gpu.multiprocessors * self.gpu.clock_ghz
        return cycles * self.gpu.fma, 2 * cycles * self.gpu.half2

    @property
    def timed_on(self) -> str:
        """Of what estimates and tables give the time, in words."""
        return "the GPU" if isinstance(self.machine, Cuda) else "one core"

    @property
    def half(self) -> bool:
        """Whether the machine computes in binary16 faster than in float32."""
        if isinstance(self.machine, Cuda):
            return self.machine.architecture.half2
        return isinstance(self.machine, Cpu) and self.machine.isa.half

    @property
    def in_half(self) -> Target:
        """A processor as kernels in binary16 see it; ValueError where it has no such arithmetic."""
        return replace(self, machine=replace(self.cpu, isa=self.isa.in_half))

    @cached_property
    def lanes(self) -> int:
        return self.isa.lanes

    @property
    def features(self) -> tuple[str, ...]:
        return self.cpu.features

    @property
    def clock_ghz(self) -> float:
        return self.rates.clock_ghz

    @property
    def fma_per_cycle(self) -> float:
        return self.rates.fma_per_cycle

    @property
    def l1_bytes(self) -> int:
        return self.rates.l1_bytes

    @property
    def l2_bytes(self) -> int:
        return self.rates.l2_bytes

    def gbps(self, moved: float) -> float:
        """GB/s at which `moved` bytes stream that were made just before: from the caches where they fit."""
        if moved <= self.l2_bytes:
            return max(self.rates.dram_gbps, self.clock_ghz * self.isa.vector_bytes / 2)
        return self.far_gbps(moved)

    def far_gbps(self, moved: float) -> float:
        """GB/s of `moved` bytes from beyond the second-level cache."""
        return self.rates.far_gbps(moved)
