"""Where an artifact may go: known before a model is compiled, and light to import."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from secateur.ir.errors import SecateurError
from secateur.ir.support.atomic import check_writable
from secateur.ir.support.ir_text import SUFFIX

KINDS = ("so", "dir", "tar")
SEAL_MAGIC = b"secateur seal 1\0"
SEAL_FIELDS = struct.Struct("<QI")  # size and CRC-32 of the file, the latter with these bytes zero
EXECUTABLE = ("model.so", "bench")
TEXTS = ("model.h", "manifest.json")
DUMPS = "ir"  # the folder of IR texts beside them
_NAMED = 8  # files that an error lists


def check_destination(path: Path, kind: str, dumps: Collection[str] = ()) -> None:
    """An artifact of `kind`, with the files `dumps` in it, may be written to `path`.

    SecateurError where something else is there, OSError where nothing can be written there.
    """
    if kind not in KINDS:
        raise SecateurError(f"unknown kind of artifact '{kind}'; known: {', '.join(KINDS)}")
    if path.exists() and path.is_dir() != (kind == "dir"):
        there = "a folder" if path.is_dir() else "a file"
        raise SecateurError(f"{path} is {there}; it is not replaced: name another")
    if kind == "dir" and path.is_dir() and any(path.iterdir()):
        _check_ours(path, dumps)
    for name in dumps:
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or not pure.parts or name in (*EXECUTABLE, *TEXTS):
            raise SecateurError(f"a dump cannot be named '{name}'")
    check_writable(path, make_folders=True)


def _check_ours(folder: Path, dumps: Collection[str]) -> None:
    """SecateurError where a folder that would be replaced holds anything but an artifact's files."""
    if not _sealed(folder / "model.so"):
        raise SecateurError(f"{folder} is a folder that holds no artifact; it is not replaced: name another")
    known = {*EXECUTABLE, *TEXTS, *dumps}
    folders = {DUMPS, *(parent.as_posix() for name in dumps for parent in PurePosixPath(name).parents)}
    foreign = []
    for path in sorted(folder.rglob("*")):
        name, folder_itself = path.relative_to(folder).as_posix(), path.is_dir() and not path.is_symlink()
        dumped = PurePosixPath(name).match(f"{DUMPS}/*{SUFFIX}") and name.count("/") == 1
        if name not in folders if folder_itself else not (name in known or dumped):
            foreign.append(name)
    if foreign:
        more = f" and {len(foreign) - _NAMED} more" if foreign[_NAMED:] else ""
        raise SecateurError(
            f"{folder} is not replaced, as it holds files that are none of an artifact: "
            f"{', '.join(foreign[:_NAMED])}{more}; move them, or choose another folder"
        )


def _sealed(library: Path) -> bool:
    """Whether a file is a library that we wrote."""
    if not library.is_file() or not library.stat().st_size:
        return False
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(SEAL_MAGIC) >= 0
