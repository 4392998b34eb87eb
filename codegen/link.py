"""Compiling the C runtime and linking, for any target, with the clang and lld of the `ziglang` wheel."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from secateur.ir.errors import SecateurError
from secateur.ir.support.unfinished import child, temporary_folder

from .backends.cpu.driver import emit_driver
from .entries import read_entry, write_entry
from .program import Program
from .sources import BENCH_SOURCES, RUNTIME_FILES, RUNTIME_SOURCES, DeviceTable, write_sources
from .targets.target import Cpu

_COMPILE = (
    "-std=c11", "-O2", "-g0", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-Wall", "-Wextra", "-I.",
)  # fmt: skip
_SHARED = (
    "-O2", "-shared", "-s", "-Wl,--build-id=none", "-Wl,-Bsymbolic", "-Wl,-z,now",
    "-Wl,--version-script=exports.map",
)  # fmt: skip
_STATIC = ("-O2", "-static", "-s", "-Wl,--build-id=none")
_DYNAMIC = ("-O2", "-s", "-Wl,--build-id=none")
_LIBRARIES = ("-lm", "-lpthread")
_LOADING = "-ldl"  # where the runtime opens a driver: a library of its own in old versions of glibc
_EXPORTS = "{ global: secateur_*; local: *; };\n"
_MESSAGE_LINES = 20


class LinkError(SecateurError):
    """The compiler or linker is missing or refused its input; the message carries its last lines."""


@dataclass(frozen=True)
class Toolchain:
    """`zig cc` for one target triple; `cache` keeps what does not depend on the model."""

    triple: str
    cache: Path

    def compile(self, folder: Path, source: str, output: str) -> str:
        """Compiles `source` to `output`, both inside `folder`."""
        self._run(folder, [*_COMPILE, "-c", source, "-o", output])
        return output

    def link(self, folder: Path, flags: Sequence[str], objects: Sequence[str], output: str) -> Path:
        """Links objects to `output`, all inside `folder`.

        Zig keeps the libc that it built in the cache, without a checksum: where the linker complains of
        a file there, it is built anew, and what was kept is dropped if that helps.
        """
        words = [*flags, *objects, *_LIBRARIES, "-o", output]
        try:
            self._run(folder, words)
        except LinkError as error:
            kept, fresh = self.cache / "zig", folder / "fresh"
            if str(kept) not in str(error):
                raise
            replace(self, cache=fresh)._run(folder, words)
            shutil.rmtree(kept, ignore_errors=True)
        return folder / output

    def runtime(self, folder: Path, sources: Sequence[str]) -> list[str]:
        """Object files of the C runtime in `folder`, compiled at most once per target and version."""
        store = self.cache / "runtime" / self._key(folder)
        names = [Path(source).stem + ".o" for source in sources]
        for source, name in zip(sources, names, strict=True):
            output, known = folder / f"{self.triple}-{name}", read_entry(store / name)
            if known is not None:
                output.write_bytes(known)
                continue
            self.compile(folder, source, output.name)
            write_entry(store / name, output.read_bytes())
        return [f"{self.triple}-{name}" for name in names]

    def _key(self, folder: Path) -> str:
        """Of the copies that are compiled: the installed sources may be edited meanwhile."""
        digest = hashlib.sha256(repr((self.triple, _COMPILE, _zig_version(), RUNTIME_FILES)).encode())
        for name in RUNTIME_FILES:
            digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
        return digest.hexdigest()[:32]

    def _run(self, folder: Path, arguments: list[str]) -> None:
        command = [_zig(), "cc", "-target", self.triple, *arguments]
        # The local cache would keep a copy of every model's weights: it goes away with the build folder.
        environment = os.environ | {
            "ZIG_GLOBAL_CACHE_DIR": str(self.cache / "zig"),
            "ZIG_LOCAL_CACHE_DIR": str(folder / "zig-cache"),
        }
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with child(command, cwd=folder, env=environment, **pipes) as process:
            told = [text.decode(errors="replace").strip() for text in process.communicate()]
        if process.returncode:
            lines = (told[1] or told[0]).splitlines()[-_MESSAGE_LINES:]
            raise LinkError(
                f"zig cc failed for {self.triple} (exit code {process.returncode}):\n" + "\n".join(lines)
            )


@dataclass(frozen=True)
class Parts:
    """What an artifact is linked of, besides its tables.

    `runtime` names the C runtime's sources. A `static` bench runs on any Linux; one that opens a driver
    cannot be. For a GPU, `device` is what the tables say of it, and `ptx` its code.
    """

    driver: bytes
    kernels: tuple[bytes, ...]
    runtime: tuple[str, ...] = RUNTIME_SOURCES
    static: bool = True
    device: DeviceTable | None = None
    ptx: bytes = b""


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
    return tools.link(folder, _STATIC if static else _DYNAMIC, objects, "bench")


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


def _zig_version() -> str:
    return importlib.metadata.version("ziglang")


def _zig() -> str:
    spec = importlib.util.find_spec("ziglang")
    if spec is None or not spec.submodule_search_locations:
        raise LinkError("the linker is missing: pip install ziglang")
    return str(Path(spec.submodule_search_locations[0]) / "zig")
