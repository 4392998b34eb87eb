"""Code for AVX-512, VNNI and AMX on machines without them: every kernel of those rows is tried everywhere.

LLVM splits vectors of 512 bits into what the machine has. What it cannot split are the instructions that
kernels name: `wide_code.ll` says what each does. So all of a kernel but LLVM's choice of instructions is
what runs on such a processor.
"""

from __future__ import annotations

import re
from pathlib import Path

import llvmlite.binding as llvm

from secateur.codegen.backends.cpu.objects import build_object, compile_object
from secateur.codegen.kernel import Kernel
from secateur.codegen.targets.host import cpu_flags, host
from secateur.codegen.targets.target import Target
from secateur.codegen.tvm_lowering import lower

_NAMED = re.compile(r"@llvm\.x86\.(?:avx512\.|(?=tile|tdp|ldtile))")
_BEYOND = ("avx512", "amx-")


def tried_here(target: Target) -> bool:
    """Whether this machine runs kernels of that x86-64 row, those of AVX-512 and AMX as functions."""
    return all(feature.startswith(_BEYOND) for feature in set(target.features) - cpu_flags())


def object_here(kernel: Kernel, symbol: str, target: Target) -> bytes:
    """The kernel's object, for a row that `tried_here` admits."""
    if set(target.features) <= cpu_flags():
        return build_object(kernel, symbol, target).code
    return compile_object(in_plain_terms(lower(kernel, symbol, target)), symbol, host())


def in_plain_terms(llvm_ir: str) -> str:
    """LLVM IR in which instructions of AVX-512 and AMX are functions; ValueError for one without."""
    module = llvm.parse_assembly(_NAMED.sub("@plain.", llvm_ir).replace(" immarg", ""))
    module.link_in(llvm.parse_assembly(Path(__file__).with_suffix(".ll").read_text()))
    unknown = [f.name for f in module.functions if f.is_declaration and f.name.startswith("plain.")]
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: say in wide_code.ll what it does")
    return str(module)
