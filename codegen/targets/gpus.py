"""GPUs as rows of data: Jetson boards, and GPUs of a generation in a PC.

Clocks are the highest that a board's power modes allow, and bandwidths are peaks.
"""

from __future__ import annotations

from .isa import AVX2, NEON64
from .machine import Architecture, Cpu, Cuda
from .target import GpuRates, Target

_HALF = 32 << 10  # registers that a block of Maxwell's and Pascal's Tegras may have

ARCHITECTURES = {
    row.number: row
    for row in (
        Architecture(53, 42, False, True, "", 64 << 10, block_registers=_HALF),
        Architecture(61, 50, True, False, "", 96 << 10),
        Architecture(62, 50, False, True, "", 64 << 10, block_registers=_HALF),
        Architecture(72, 63, True, True, "wmma", 96 << 10),
        Architecture(75, 63, True, True, "wmma", 64 << 10, threads=1024, blocks=16),
        Architecture(80, 70, True, True, "mma", 164 << 10),
        Architecture(86, 71, True, True, "mma", 100 << 10, threads=1536, blocks=16),
        Architecture(87, 74, True, True, "mma", 164 << 10, threads=1536, blocks=16),
        Architecture(89, 78, True, True, "mma", 100 << 10, threads=1536, blocks=24),
        Architecture(90, 78, True, True, "mma", 228 << 10),
    )
}

_ARM = Cpu("aarch64-unknown-linux-gnu", "aarch64-linux-gnu.2.17", "generic", NEON64)
_X86 = Cpu("x86_64-unknown-linux-gnu", "x86_64-linux-gnu.2.17", "x86-64-v3", AVX2)


def _jetson(name: str, architecture: int, rates: GpuRates) -> Target:
    return Target(name, Cuda(ARCHITECTURES[architecture], _ARM), gpu_rates=rates)


def _pc(architecture: int, rates: GpuRates) -> Target:
    row = ARCHITECTURES[architecture]
    return Target(f"cuda-{row.name}", Cuda(row, _X86), gpu_rates=rates)


JETSONS = (
    _jetson("jetson-nano", 53, GpuRates(1, 0.92, 128, 128, 0, 0, 256 << 10, 60.0, 25.6, 9e-6)),
    _jetson("jetson-tx2", 62, GpuRates(2, 1.3, 128, 128, 0, 0, 512 << 10, 150.0, 59.7, 8e-6)),
    _jetson("jetson-xavier", 72, GpuRates(8, 1.38, 64, 64, 64, 1024, 512 << 10, 500.0, 137.0, 6e-6)),
    _jetson("jetson-orin", 87, GpuRates(16, 1.3, 128, 128, 64, 2048, 4 << 20, 1000.0, 205.0, 5e-6)),
    _jetson("jetson-orin-nano", 87, GpuRates(8, 0.63, 128, 128, 64, 2048, 2 << 20, 300.0, 68.0, 6e-6)),
)

PCS = (
    _pc(61, GpuRates(20, 1.7, 128, 2, 64, 0, 2 << 20, 1000.0, 320.0)),
    _pc(75, GpuRates(40, 1.59, 64, 64, 64, 1024, 4 << 20, 1200.0, 320.0)),
    _pc(80, GpuRates(108, 1.41, 64, 128, 64, 2048, 40 << 20, 4000.0, 1555.0, 3e-6)),
    _pc(86, GpuRates(68, 1.71, 128, 128, 64, 1024, 5 << 20, 2500.0, 760.0, 3e-6)),
    _pc(89, GpuRates(58, 2.04, 128, 128, 64, 1024, 48 << 20, 2500.0, 300.0, 3e-6)),
    _pc(90, GpuRates(132, 1.75, 128, 256, 64, 4096, 50 << 20, 5500.0, 3350.0, 3e-6)),
)
