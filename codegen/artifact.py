"""Writing artifacts: a single model.so, or a folder or tar around it.

Everything is written beside its destination and renamed at the end: a failure
or an interrupt leaves what was there before. The same program gives the same
bytes.
"""

from __future__ import annotations

import mmap
import shutil
import tarfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

from secateur.ir.support.atomic import replacing

from .destination import EXECUTABLE, SEAL_FIELDS, SEAL_MAGIC, TEXTS, check_destination
from .folder import cache_folder
from .link import Parts, build_folder, link_bench, link_shared, processor_parts
from .program import Program
from .program_check import ProgramError


def write_artifact(
    program: Program,
    path: str | Path,
    kind: str = "so",
    dumps: Mapping[str, str | bytes] | None = None,
    cache: Path | None = None,
    check: Callable[[Path], None] | None = None,
    parts: Parts | None = None,
) -> Path:
    """Writes `program` to `path` as `so` (model.so alone), `dir` or `tar`; returns the path.

    A folder and a tar hold model.so, model.h, bench, manifest.json and `dumps` (relative name to content).
    Replaces an artifact of the same kind; never touches another kind of file, nor a folder that holds any.
    `check` gets the finished artifact before it takes its place; where it raises, nothing is written.
    `parts` is what it is linked of, where that is not a processor's code.
    Raises SecateurError (bad arguments), ProgramError, LinkError, OSError.
    """
    path, dumps, parts = Path(path), dumps or {}, parts or processor_parts(program)
    check_destination(path, kind, dumps)
    path.parent.mkdir(parents=True, exist_ok=True)
    with build_folder(program, parts) as folder, replacing(path) as draft:
        seal(link_shared(program, folder, cache or cache_folder(), parts.runtime))
        if kind != "so":
            link_bench(program, folder, cache or cache_folder(), parts.runtime, static=parts.static)
        _fill(folder, draft, kind, dumps)
        if check is not None:
            check(draft)
    return path


def _fill(folder: Path, draft: Path, kind: str, dumps: Mapping[str, str | bytes]) -> None:
    """The draft, from model.so in the build folder."""
    if kind == "so":
        _place(folder / "model.so", draft)
        return
    content = draft if kind == "dir" else folder / "content"
    _gather(folder, content, dumps)
    if kind == "tar":
        _pack(content, draft)


def seal(library: Path) -> None:
    """Writes the size and CRC-32 of the file, as it is with an empty seal, into the seal."""
    with library.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        at = data.find(SEAL_MAGIC)
        if at < 0 or data.find(SEAL_MAGIC, at + 1) >= 0:
            raise ProgramError("weights, kernels or manifest contain the bytes that mark an artifact's seal")
        SEAL_FIELDS.pack_into(data, at + len(SEAL_MAGIC), len(data), zlib.crc32(data))


def _gather(build: Path, content: Path, dumps: Mapping[str, str | bytes]) -> None:
    content.mkdir(exist_ok=True)
    for name in (*EXECUTABLE, *TEXTS):
        _place(build / name, content / name)
    for name, data in sorted(dumps.items()):
        file = content / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data.encode() if isinstance(data, str) else data)


def _place(source: Path, target: Path) -> None:
    shutil.move(source, target)
    target.chmod(_mode(source.name))


def _mode(name: str) -> int:
    return 0o755 if name in EXECUTABLE else 0o644


def _pack(content: Path, archive: Path) -> None:
    """An uncompressed tar (weights hardly compress) with names sorted, times and owners zero."""
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        for file in sorted(p for p in content.rglob("*") if p.is_file()):
            _add(tar, file, file.relative_to(content).as_posix())


def _add(tar: tarfile.TarFile, file: Path, name: str) -> None:
    info = tarfile.TarInfo(name)
    info.size = file.stat().st_size
    info.mode = _mode(name)
    with file.open("rb") as data:
        tar.addfile(info, data)
