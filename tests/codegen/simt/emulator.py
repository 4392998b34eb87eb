"""The SIMT emulator: a stand-in for CUDA's driver, and kernels compiled from the LLVM IR that becomes PTX.

The stand-in is loaded as `libcuda.so.1`, so that an artifact's C runtime finds it and knows no difference.
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from itertools import count
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import pytest

from secateur.codegen.backends.cuda.backend import CudaBackend
from secateur.codegen.program import Module, Program
from secateur.codegen.targets.host import host

SOURCES = tuple(Path(__file__).with_name(name) for name in ("simt.c", "driver.c"))
_COLLECTIVE = re.compile(r"@llvm\.nvvm\.(?:barrier|shfl|mma|wmma|bar)")
_ENTRY = re.compile(r"^define ptx_kernel void @(\w+)\(([^)]*)\)", flags=re.M)
_MATRIX = re.compile(
    r"^declare [^\n]*@llvm\.nvvm\.mma[^\n]*\n(define internal <4 x i32> @secateur_mma_(\w+)\(([^)]*)\)).*?^}",
    flags=re.M | re.S,
)
_WMMA = re.compile(
    r"^declare [^\n]*@llvm\.nvvm\.wmma[^\n]*\n"
    r"(define internal (void|i32|<\d x i32>) @secateur_wmma_(\w+)\(([^)]*)\)).*?^}",
    flags=re.M | re.S,
)
_LOAD = re.compile(
    r"^  %[\w.]+ = load (?:<(?P<lanes>\d+) x )?(?P<element>i8|i16|i32|half|float)>?, "
    r"ptr (?P<place>[%@][\w.]+)",
    flags=re.M,
)
_SIZES = {"i8": 1, "i16": 2, "half": 2, "i32": 4, "float": 4}  # bytes
_UNLIMITED = (1 << 64) - 1
_ENGINES: dict[str, Any] = {}  # machine code lives as long as its engine


@functools.cache
def stand_in() -> ctypes.CDLL:
    """The stand-in, loaded once for the process under the name by which the runtime opens it."""
    folder = Path(tempfile.mkdtemp(prefix="secateur-simt-"))
    library = folder / "libcuda.so.1"
    flags = ["-std=c11", "-O2", "-s", "-shared", "-fPIC", "-fvisibility=hidden", "-Wl,-soname,libcuda.so.1"]
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", host().cpu.zig_triple]  # as artifacts are linked
    command = [*zig, *flags, *map(str, SOURCES), "-o", str(library)]
    environment = os.environ | {"ZIG_LOCAL_CACHE_DIR": str(folder / "cache")}
    subprocess.run(command, check=True, env=environment)
    loaded = ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    loaded.simt_accesses.argtypes = [ctypes.c_void_p]
    for number in (
        "simt_accesses",
        "simt_live",
        "simt_launches",
        "simt_replays",
        "simt_cubins",
        "simt_products",
    ):
        getattr(loaded, number).restype = ctypes.c_int64
    loaded.simt_kernel.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
    loaded.simt_fail.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_int]
    loaded.simt_configure.argtypes = [ctypes.c_int] * 4 + [ctypes.c_uint64] + [ctypes.c_int] * 3
    return loaded


@dataclass(frozen=True)
class Gpu:
    """What there is: 72 is sm_72, 12040 is CUDA 12.4, 84 is PTX 8.4; `memory` in bytes.

    `order` is that of a block's threads: 0 up, 1 down, else a seed. Where it is `late`, a stream's work is
    done when it is waited for, not before.
    """

    devices: int = 1
    capability: int = 90
    driver: int = 12040
    ptx: int = 84
    memory: int = _UNLIMITED
    order: int = 0
    graphs: bool = True
    late: bool = True


def configure(gpu: Gpu = Gpu()) -> None:
    """From now on there is this GPU, and nothing fails."""
    stand_in().simt_configure(*astuple(gpu))


def on_host(llvm_ir: str) -> str:
    """The LLVM IR of a kernel's module as one for this machine, with an entry that unpacks the parameters.

    Intrinsics of GPUs become functions of the stand-in. Address spaces stay: here they are all one.
    """
    llvm_ir = _WMMA.sub(_wmma, _MATRIX.sub(_matrix, llvm_ir))
    text = re.sub(r"@llvm\.nvvm\.barrier\.cta\.sync[a-z.]*", "@simt_barrier", llvm_ir)
    text = text.replace(" immarg", "")
    text = re.sub(r"@llvm\.nvvm\.([\w.]+)", lambda m: "@simt_" + m[1].replace(".", "_"), text)
    text = text.replace("= internal addrspace(3) global", "= addrspace(3) global")  # others may change it
    return text.replace("define ptx_kernel void", "define void") + _entry(llvm_ir)


def _matrix(found: re.Match[str]) -> str:
    """A matrix instruction's function, that hands its registers to the stand-in in memory."""
    given = found[3].split(", ")
    lines = [f"declare void @simt_mma_{found[2]}(ptr, ptr)", f"{found[1]} {{"]
    lines += [f"  %registers = alloca [{len(given)} x i32]", "  %sums = alloca <4 x i32>"]
    for i, parameter in enumerate(given):
        lines.append(f"  %place{i} = getelementptr i32, ptr %registers, i32 {i}")
        lines.append(f"  store {parameter}, ptr %place{i}")
    lines += [f"  call void @simt_mma_{found[2]}(ptr %registers, ptr %sums)"]
    return "\n".join([*lines, "  %r = load <4 x i32>, ptr %sums", "  ret <4 x i32> %r", "}"])


def _wmma(found: re.Match[str]) -> str:
    """The same of an instruction that loads, multiplies or stores."""
    result, name, given = found[2], found[3], found[4].split(", ")
    place = "ptr %p" if given[0] == "ptr %p" else "ptr null"
    words = [parameter for parameter in given if parameter != "ptr %p"]
    lines = [f"declare void @simt_wmma_{name}(ptr, ptr, ptr)", f"{found[1]} {{", "  %sums = alloca <8 x i32>"]
    lines += [f"  %registers = alloca [{len(words) + 1} x i32]"]
    for i, parameter in enumerate(words):
        lines.append(f"  %place{i} = getelementptr i32, ptr %registers, i32 {i}")
        lines.append(f"  store {parameter}, ptr %place{i}")
    lines.append(f"  call void @simt_wmma_{name}({place}, ptr %registers, ptr %sums)")
    if result == "void":
        return "\n".join([*lines, "  ret void", "}"])
    return "\n".join([*lines, f"  %r = load {result}, ptr %sums", f"  ret {result} %r", "}"])


def _entry(llvm_ir: str) -> str:
    found = _ENTRY.search(llvm_ir)
    assert found, "the LLVM IR has a kernel"
    spaces = [
        "ptr addrspace(1)" if "addrspace(1)" in parameter else parameter.split()[0]
        for parameter in found[2].split(", ")
    ]
    lines = [f"define void @simt.{found[1]}(ptr %parameters) {{"]
    for i, kind in enumerate(spaces):
        lines += [
            f"  %slot{i} = getelementptr ptr, ptr %parameters, i32 {i}",
            f"  %place{i} = load ptr, ptr %slot{i}",
            f"  %value{i} = load {kind}, ptr %place{i}",
        ]
    values = ", ".join(f"{kind} %value{i}" for i, kind in enumerate(spaces))
    return "\n".join([*lines, f"  call void @{found[1]}({values})", "  ret void", "}"]) + "\n"


def is_loaded(symbol: str) -> bool:
    """Whether the stand-in has the kernel of that name, which says all that it does."""
    return symbol in _ENGINES


def load_kernels(modules: Iterable[Module]) -> None:
    """Makes the kernels of a program known to the stand-in, compiled for this machine."""
    for module in modules:
        if module.symbol not in _ENGINES:
            _ENGINES[module.symbol] = _compile(module)


def load_telling(module: Module) -> None:
    """Makes a kernel known that tells the stand-in of what it loads; it goes by a name of its own."""
    if module.symbol not in _ENGINES:
        _ENGINES[module.symbol] = _compile(module, _telling)


def _telling(text: str) -> str:
    sites = count()

    def told(found: re.Match[str]) -> str:
        size = int(found["lanes"] or 1) * _SIZES[found["element"]]
        return f"  call void @simt_load(i32 {next(sites)}, ptr {found['place']}, i32 {size})\n{found[0]}"

    return _LOAD.sub(told, text) + "declare void @simt_load(i32, ptr, i32)\n"


def dumped(folder: Path) -> list[Module]:
    """The kernels that `--dump-ir` wrote as LLVM IR into a folder."""
    return [Module(path.stem, b"", {"ll": path.read_text()}) for path in sorted(folder.glob("*.ll"))]


@contextmanager
def llvm_alone() -> Iterator[None]:
    """`--dump-ir` writes LLVM IR alone of kernels for a GPU: what else it shows takes longer than they do."""

    def texts(_backend: CudaBackend, emitted: Program) -> Iterator[tuple[str, str]]:
        return ((f"{module.symbol}.ll", module.texts["ll"]) for module in emitted.modules)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CudaBackend, "texts", texts)
        yield


def load_dumped(folder: Path) -> None:
    """As `load_kernels`, of what `--dump-ir` wrote."""
    load_kernels(dumped(folder))


def is_collective(module: Module) -> bool:
    """Whether its threads wait for each other."""
    return bool(_COLLECTIVE.search(module.texts["ll"]))


def pointer_count(module: Module) -> int:
    """Its parameters but for the last, the number of tasks."""
    found = _ENTRY.search(module.texts["ll"])
    assert found
    return found[2].count(",")


def _compile(module: Module, changed: Callable[[str], str] | None = None) -> Any:
    """As it is, since optimizing takes longer than kernels run; `changed` makes other code of optimized."""
    library = stand_in()
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    level = 2 if changed else 0
    machine = llvm.Target.from_default_triple().create_target_machine(opt=level)
    parsed = llvm.parse_assembly(on_host(module.texts["ll"]))
    parsed.verify()
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=level))
    passes.getModulePassManager().run(parsed, passes)
    if changed:
        parsed = llvm.parse_assembly(changed(str(parsed)))
        parsed.verify()
    for name in re.findall(r"@(simt_\w+)\(", str(parsed)):
        llvm.add_symbol(name, ctypes.cast(getattr(library, name), ctypes.c_void_p).value)
    engine = llvm.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    address = engine.get_function_address(f"simt.{module.symbol}")
    library.simt_kernel(module.symbol.encode(), address, is_collective(module), pointer_count(module))
    return engine
