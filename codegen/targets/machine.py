"""What code is made for: the classes of machines, one for each backend.

The class of a target's machine says which backend compiles for it (`codegen/backends`).
"""

from __future__ import annotations

from dataclasses import dataclass

from .isa import Isa


@dataclass(frozen=True)
class Machine:
    """What code is made for; the classes of machines derive from it, one for each backend."""


@dataclass(frozen=True)
class Cpu(Machine):
    """A processor: what LLVM and the linker call it.

    `features` are LLVM feature names: code is made for the architecture and these, and the artifact checks
    them at load. `core` is the one that it is tuned for, whose other features are not used; `in_order` tells
    that it waits for each operand before it starts what follows.
    """

    triple: str
    zig_triple: str
    core: str
    isa: Isa
    features: tuple[str, ...] = ()
    in_order: bool = False

    @property
    def host(self) -> Cpu:
        """The processor that runs an artifact's own code: itself."""
        return self

    @property
    def architecture(self) -> str:
        """`x86_64`, `aarch64` or `armv7`."""
        return self.triple.split("-")[0]

    @property
    def baseline(self) -> str:
        """LLVM's name of a core that has what the architecture requires, and no more."""
        return "x86-64" if self.architecture == "x86_64" else "generic"


THREAD_REGISTERS = 255  # that an instruction can name


@dataclass(frozen=True)
class Architecture:
    """A generation of NVIDIA's GPUs: what its code may use, and what its multiprocessors hold.

    `ptx` is the first PTX version that knows it and what it has here, times ten; older drivers read no newer
    one. `dot` tells that four bytes times four bytes is one instruction (`dp4a`); `half2` that two binary16
    are; `matrix` names the int8 matrix instruction, or is empty. Bytes of shared memory and registers are a
    multiprocessor's.
    """

    number: int  # 72 of sm_72
    ptx: int
    dot: bool
    half2: bool
    matrix: str
    shared_bytes: int
    threads: int = 2048  # resident on a multiprocessor
    blocks: int = 32
    registers: int = 1 << 16
    block_registers: int = 1 << 16
    block_shared_bytes: int = 48 << 10  # of static shared memory

    def __post_init__(self) -> None:
        if self.matrix not in ("", "wmma", "mma"):
            raise ValueError(f"{self.name}: unknown matrix instruction '{self.matrix}'")
        if self.block_shared_bytes > self.shared_bytes or self.block_registers > self.registers:
            raise ValueError(f"{self.name}: a block holds more than a multiprocessor")

    @property
    def name(self) -> str:
        """As NVIDIA's tools call it."""
        return f"sm_{self.number}"

    def resident(self, threads: int, thread_registers: int, shared_bytes: int) -> int:
        """Blocks of so many threads that a multiprocessor holds at once; 0 where none fits."""
        registers = thread_registers * threads
        if shared_bytes > self.block_shared_bytes or thread_registers > THREAD_REGISTERS:
            return 0
        if registers > self.block_registers:
            return 0
        return min(
            self.blocks,
            self.threads // threads,
            self.registers // registers,
            self.shared_bytes // shared_bytes,
        )


@dataclass(frozen=True)
class Cuda(Machine):
    """A GPU of NVIDIA's, and the processor beside it, which runs an artifact's own code."""

    architecture: Architecture
    host: Cpu
