"""LLVM's code generator for GPUs: PTX of the oldest version that knows the target's architecture."""

from __future__ import annotations

import functools
import threading

import llvmlite.binding as llvm

from ....targets.machine import Architecture

TRIPLE = "nvptx64-nvidia-cuda"
LOCK = threading.Lock()  # llvmlite shares one global context


@functools.cache
def target_machine(architecture: Architecture) -> llvm.TargetMachine:
    """Code for one architecture: later ones run it, earlier ones do not."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    row = llvm.Target.from_triple(TRIPLE)
    return row.create_target_machine(
        cpu=architecture.name, features=f"+ptx{architecture.ptx}", opt=3, reloc="default", codemodel="default"
    )
