"""A thread of a GPU as a processor that primitives of processors know.

What such a primitive computes as a task, a thread computes: every operator that processors have runs on
GPUs, and those that matter have primitives of their own.
"""

from __future__ import annotations

import functools
from dataclasses import replace

from ...alignment import aligned
from ...kernel import Kernel
from ...targets.isa import SIMT, SIMT_DOT
from ...targets.machine import Cpu
from ...targets.target import Rates, Target

_TRIPLE = "x86_64-unknown-linux-gnu"  # TVM's code is the same for any, until it is made for the GPU


@functools.cache
def thread_of(target: Target) -> Target:
    """One thread of a GPU: a scalar multiply-add a cycle."""
    gpu, architecture = target.gpu, target.cuda.architecture
    isa = replace(SIMT_DOT if architecture.dot else SIMT, half=architecture.half2)
    rates = Rates(gpu.clock_ghz, 1 / isa.lanes, l2_bytes=gpu.l2_bytes, dram_gbps=gpu.dram_gbps)
    return Target(f"{target.name}-thread", Cpu(_TRIPLE, "", "x86-64", isa), rates)


def workspace_stride(kernel: Kernel) -> int:
    """Bytes from one thread's workspace to the next one's."""
    return aligned(kernel.workspace)
