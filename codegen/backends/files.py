"""Backends whose artifacts are one file of another runtime's format: no kernels, a writer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

from secateur.ir.choice import CostTable
from secateur.ir.errors import SecateurError
from secateur.ir.support.atomic import check_writable, replacing

from ..targets.target import Target
from .backend import Backend, Dumps, Emitted
from .uncounted import Uncounted


class Filed(Emitted, Protocol):
    """What was emitted, with the bytes of its file."""

    @property
    def data(self) -> bytes:
        """The whole file."""


File = TypeVar("File", bound=Filed)


SUFFIXES = (".so", ".tar", ".onnx", ".tflite")
"""What the name of an artifact may end in; a file of one kind is not called as another."""


class FileBackend(Backend[File]):
    """Its runtime chooses how operators are computed, so there is nothing to choose."""

    def costs(self, target: Target) -> CostTable:
        return Uncounted(target.name)

    def write(
        self,
        emitted: File,
        path: Path,
        kind: str = "",
        dumps: Dumps | None = None,
        check: Callable[[Path], None] | None = None,
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as draft:
            draft.write_bytes(emitted.data)
            if check is not None:
                check(draft)
        return path

    def texts(self, emitted: File) -> Iterator[tuple[str, str]]:
        return iter(())

    def check_destination(self, path: Path, kind: str, dumps: Collection[str] = ()) -> None:
        if kind not in ("", *self.kinds):
            raise SecateurError(f"unknown kind of artifact '{kind}'; known: {', '.join(self.kinds)}")
        if path.suffix in SUFFIXES and path.suffix[1:] not in self.kinds:
            raise SecateurError(f"{path}: a file for this target is {' or '.join(self.kinds)}")
        if path.is_dir():
            raise SecateurError(f"{path} is a folder; it is not replaced: name a file")
        check_writable(path, make_folders=True)
