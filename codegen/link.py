"""Compiling the C runtime and linking, for any target, by `toolchain`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from secateur.ir.support.unfinished import temporary_folder

from .backends.cpu.driver import emit_driver
from .program import Program
from .runtime_files import BENCH_SOURCES, RUNTIME_SOURCES
from .sources import DeviceTable, write_sources
from .targets.target import Cpu
from .toolchain import Toolchain

_SHARED = (
    "-O2", "-shared", "-s", "-Wl,--build-id=none", "-Wl,-Bsymbolic", "-Wl,-z,now",
    "-Wl,--version-script=exports.map",
)  # fmt: skip
STATIC = ("-O2", "-static", "-s", "-Wl,--build-id=none")
_DYNAMIC = ("-O2", "-s", "-Wl,--build-id=none")
_LOADING = "-ldl"  # where the runtime opens a driver: a library of its own in old versions of glibc
_EXPORTS = "{ global: secateur_*; local: *; };\n"


@dataclass(frozen=True)
class Parts:
    """What an artifact is linked of, besides its tables.

    `runtime` names the C runtime's sources. A `static` bench runs on any Linux; one that opens a driver
    cannot be. For a GPU, `device` is what the tables say of it, `ptx` its code, and `cubin` the same
    finished for one architecture, where there is that.
    """

    driver: bytes
    kernels: tuple[bytes, ...]
    runtime: tuple[str, ...] = RUNTIME_SOURCES
    static: bool = True
    device: DeviceTable | None = None
    ptx: bytes = b""
    cubin: bytes = b""


def processor_parts(program: Program) -> Parts:
    """Of a program whose modules are objects for a processor."""
    return Parts(emit_driver(program), tuple(module.code for module in program.modules))


@contextmanager
def build_folder(program: Program, parts: Parts | None = None) -> Iterator[Path]:
    """A temporary folder with every source and object of the program; gone afterwards."""
    parts = parts or processor_parts(program)
    with temporary_folder("secateur-") as folder:
        write_sources(program, folder, parts.device)
        (folder / "exports.map").write_text(_EXPORTS)
        (folder / "driver.o").write_bytes(parts.driver)
        if parts.device:
            (folder / "model.ptx").write_bytes(parts.ptx)
            (folder / "model.cubin").write_bytes(parts.cubin)
        for index, code in enumerate(parts.kernels):
            (folder / f"kernel{index}.o").write_bytes(code)
        yield folder


def link_shared(
    program: Program, folder: Path, cache: Path, runtime: Sequence[str] = RUNTIME_SOURCES
) -> Path:
    """Links `model.so` in a build folder; it needs libc alone and exports the interface alone."""
    tools = Toolchain(program.target.host.zig_triple, cache)
    objects = _model_objects(tools, folder) + _runtime(tools, folder, runtime)
    return tools.link(folder, _SHARED, objects, "model.so")


def link_bench(
    program: Program,
    folder: Path,
    cache: Path,
    runtime: Sequence[str] = RUNTIME_SOURCES,
    *,
    static: bool = True,
) -> Path:
    """Links `bench` in a build folder: an executable that runs and times the model."""
    host = program.target.host
    tools = Toolchain(static_triple(host) if static else host.zig_triple, cache)
    objects = _model_objects(tools, folder) + _runtime(tools, folder, (*runtime, *BENCH_SOURCES))
    return tools.link(folder, STATIC if static else _DYNAMIC, objects, "bench")


def _runtime(tools: Toolchain, folder: Path, sources: Sequence[str]) -> list[str]:
    """The runtime's objects, and what they need besides libc."""
    return tools.runtime(folder, sources) + [_LOADING] * ("cuda.c" in sources)


def static_triple(cpu: Cpu) -> str:
    """The musl twin of a processor's triple: `arm-linux-gnueabihf.2.17` gives `arm-linux-musleabihf`."""
    arch, system, abi = cpu.zig_triple.split("-")
    return f"{arch}-{system}-{abi.split('.')[0].replace('gnu', 'musl')}"


def _model_objects(tools: Toolchain, folder: Path) -> list[str]:
    table = tools.compile(folder, "model_table.c", f"{tools.triple}-model_table.o")
    kernels = sorted((path.name for path in folder.glob("kernel*.o")), key=lambda name: (len(name), name))
    return [table, "driver.o", *kernels]
