"""The clang and lld of the `ziglang` wheel: C for any target."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from secateur.ir.errors import SecateurError
from secateur.ir.support.cores import on_all_cores
from secateur.ir.support.unfinished import child

from .entries import read_entry, write_entry
from .runtime_files import RUNTIME_FILES

_COMPILE = (
    "-std=c11", "-O2", "-g0", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-Wall", "-Wextra", "-I.",
)  # fmt: skip
_LIBRARIES = ("-lm", "-lpthread")
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
            kept, fresh = self._libc(), folder / "fresh"
            if str(kept) not in str(error):
                raise
            replace(self, cache=fresh)._run(folder, words)
            shutil.rmtree(kept, ignore_errors=True)
        return folder / output

    def runtime(self, folder: Path, sources: Sequence[str]) -> list[str]:
        """Object files of the C runtime in `folder`, compiled at most once per target and version.

        Those that are not in the cache are compiled side by side.
        """
        store = self.cache / "runtime" / self._key(folder)

        def place(source: str) -> str:
            name = Path(source).stem + ".o"
            output, known = folder / f"{self.triple}-{name}", read_entry(store / name)
            if known is not None:
                output.write_bytes(known)
            else:
                self.compile(folder, source, output.name)
                write_entry(store / name, output.read_bytes())
            return output.name

        return on_all_cores(place, sources)

    def _libc(self) -> Path:
        """Where zig keeps what it builds of libc: by one path, since it builds all anew for another."""
        return (self.cache / "zig").resolve()

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
            "ZIG_GLOBAL_CACHE_DIR": str(self._libc()),
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


def _zig_version() -> str:
    return importlib.metadata.version("ziglang")


def _zig() -> str:
    spec = importlib.util.find_spec("ziglang")
    if spec is None or not spec.submodule_search_locations:
        raise LinkError("the linker is missing: pip install ziglang")
    return str(Path(spec.submodule_search_locations[0]) / "zig")
