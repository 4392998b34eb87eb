"""LLVM's code generator for a target, as kernels and the driver share it."""

from __future__ import annotations

import functools
import threading

import llvmlite.binding as llvm

from .targets import Target

LOCK = threading.Lock()  # llvmlite shares one global context


def target_machine(target: Target) -> llvm.TargetMachine:
    """Position-independent code; hard float where the triple says so."""
    tuning = _TUNING.get(target.triple.split("-")[0])
    features = [f"+{name}" for name in target.features] + ([tuning] if tuning else [])
    return _machine(target.triple, target.cpu, ",".join(features))


# Beside what code needs: ARM's list scheduler would mind latency alone and spill register tiles.
_TUNING = {"armv7": "+use-misched"}


@functools.cache
def _machine(triple: str, cpu: str, features: str) -> llvm.TargetMachine:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    row = llvm.Target.from_triple(triple)
    return row.create_target_machine(cpu=cpu, features=features, opt=3, reloc="pic", codemodel="default")
