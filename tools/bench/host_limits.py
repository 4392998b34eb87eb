"""What one core of this machine can do at most: int8 multiply-accumulates and bytes read, a second.

Both are measured by loops of assembly, because a virtual machine's clock is not what its name says, and
drops under wide vectors.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

_ACCUMULATORS = range(8, 32)
_MACS = 64 * len(_ACCUMULATORS)  # of one iteration: 64 for each instruction
_LINES = 4  # cache lines read in one iteration
_VNNI = "".join(f"vpdpbusd %zmm0, %zmm1, %zmm{i}; " for i in _ACCUMULATORS)
_READ = "".join(f"vmovdqa64 {64 * i}($1), %zmm{i}; " for i in range(_LINES)) + f"addq $${64 * _LINES}, $1; "
_REPEATS = 5


def has_vnni() -> bool:
    """Whether this processor has AVX512-VNNI; without it nothing here can be measured."""
    from secateur.codegen.targets.host import cpu_flags

    return "avx512vnni" in cpu_flags()


def vnni_peak() -> float:
    """int8 multiply-accumulates a second of `vpdpbusd` on 512 bits, with no memory in the way."""
    iterations = 200_000
    seconds = min(_seconds(lambda: _loop(_VNNI)(iterations, 0)) for _ in range(_REPEATS))
    return iterations * _MACS / seconds


def read_bandwidth(size: int) -> float:
    """Bytes a second that come from `size` bytes read again and again, so from the cache they fit in.

    From a megabyte on; below that the call itself counts.
    """
    data = np.ones(size + 64, np.uint8)
    start = data.ctypes.data + -data.ctypes.data % 64
    iterations = size // (64 * _LINES)
    seconds = min(_seconds(lambda: _loop(_READ)(iterations, start)) for _ in range(4 * _REPEATS))
    return iterations * 64 * _LINES / seconds


def _seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


@cache
def _loop(body: str) -> Callable[[int, int], object]:
    """The machine code of `body` in a loop: takes a count, and an address that stands in `$1`."""
    registers = ",".join(f"~{{zmm{i}}}" for i in range(32))
    return _compiled(f"""
define void @loop(i64 %count, i64 %address) {{
  %end = call {{i64, i64}} asm sideeffect "1: {body}decq $0; jnz 1b",
    "=&r,=&r,0,1,{registers},~{{memory}},~{{flags}}"(i64 %count, i64 %address)
  ret void
}}""")


def _compiled(text: str) -> Callable[[int, int], object]:
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    binding.initialize_native_asmparser()
    machine = binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(), features=binding.get_host_cpu_features().flatten()
    )
    engine: Any = binding.create_mcjit_compiler(binding.parse_assembly(text), machine)
    _ENGINES.append(engine)
    return ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)(engine.get_function_address("loop"))


_ENGINES: list[Any] = []  # keep the machine code alive
