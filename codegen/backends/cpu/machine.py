"""LLVM's code generator for a target, as kernels and the driver share it.

Code is made for the architecture and the features that the target's row names,
and no others that its core has: these alone does an artifact check before it
runs. The core says how the code is scheduled and what it costs.
"""

from __future__ import annotations

import functools
import re
import threading

import llvmlite.binding as llvm

from ...targets.target import Target

LOCK = threading.Lock()  # llvmlite shares one global context


def target_machine(target: Target) -> llvm.TargetMachine:
    """Position-independent code; hard float where the triple says so."""
    features = [f"+{name}" for name in target.features] + list(_MORE.get(target.cpu.architecture, ()))
    core = target.cpu.core if target.cpu.architecture in _MORE else target.cpu.baseline
    return _machine(target.triple, core, ",".join(features))


# LLVM tunes 32-bit ARM for the core that it makes code for: so what A7, A15 and their like have beyond the
# row is taken away. Its list scheduler would mind latency alone and spill register tiles. And it would have
# the A7 multiply and add apart, as a product of one waits for the next: in our tiles others lie between.
_APART = ("-slowfpvmlx", "-slowfpvfmx")
_MORE = {"armv7": ("-mp", "-trustzone", "-virtualization", "+use-misched", *_APART)}


def tuned(llvm_ir: str, target: Target) -> str:
    """Functions of TVM's LLVM IR made for what `target_machine` makes code for, and tuned for the core."""
    mine = rf'"target-cpu"="{re.escape(target.cpu.baseline)}"(?: "target-features"="[^"]*")?'
    return re.sub(mine, tuning(target), llvm_ir)


def tuning(target: Target) -> str:
    """The attribute of a function that is tuned for the target's core."""
    return f'"tune-cpu"="{target.cpu.core}"'


@functools.cache
def _machine(triple: str, cpu: str, features: str) -> llvm.TargetMachine:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    row = llvm.Target.from_triple(triple)
    return row.create_target_machine(cpu=cpu, features=features, opt=3, reloc="pic", codemodel="default")
