"""The stand-in with kernels built in, for another process or processor than this one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import llvmlite.binding as llvm

from secateur.codegen.program import Module

from .emulator import SOURCES, is_collective, on_host, pointer_count

_TABLE = """\
#include "simt.h"
void simt_kernel(const char *name, entry run, int collective, int pointers);
%s
static __attribute__((constructor)) void add(void) {
%s
}
"""


def build_driver(folder: Path, modules: Iterable[Module], triple: str, compiler: Sequence[str]) -> Path:
    """Writes `libcuda.so.1` into the folder; `compiler` is the C compiler for `triple`, with its flags."""
    modules = list(modules)
    declared = [f'void run{i}(void **parameters) __asm__("simt.{m.symbol}");' for i, m in enumerate(modules)]
    added = [
        f'    simt_kernel("{m.symbol}", run{i}, {int(is_collective(m))}, {pointer_count(m)});'
        for i, m in enumerate(modules)
    ]
    (folder / "table.c").write_text(_TABLE % ("\n".join(declared), "\n".join(added)))
    objects = []
    for i, module in enumerate(modules):
        objects.append(folder / f"kernel{i}.o")
        objects[-1].write_bytes(_object(module, triple))
    library = folder / "libcuda.so.1"
    flags = ["-std=c11", "-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-Wl,-soname,libcuda.so.1"]
    files = [*SOURCES, folder / "table.c", *objects]
    command = [*compiler, *flags, f"-I{SOURCES[0].parent}", *map(str, files), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return library


def _object(module: Module, triple: str) -> bytes:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(triple).create_target_machine(opt=0, reloc="pic")
    parsed = llvm.parse_assembly(f'target triple = "{triple}"\n' + on_host(module.texts["ll"]))
    parsed.verify()
    emitted: bytes = machine.emit_object(parsed)
    return emitted
