"""Writing files and folders whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .unfinished import unfinished


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Where to write what shall stand at `path`: a name beside it, of which the block makes a file or folder.

    When the block ends well, that takes the place of what was there; else it vanishes, and what was there
    stays. OSError, which names `path`, where the place cannot be taken.
    """
    with unfinished(path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.partial")) as draft:
        try:
            yield draft
            _take_place(draft, path)
        except OSError as error:
            if error.filename not in (str(draft), draft):
                raise
            raise OSError(error.errno, error.strerror, str(path)) from None


def _take_place(draft: Path, path: Path) -> None:
    """Renames; an old folder, which nothing can replace in one step, stands beside until then."""
    if not (draft.is_dir() and path.is_dir()):
        os.replace(draft, path)
        return
    old = draft.with_suffix(".old")
    path.rename(old)
    try:
        draft.rename(path)
    except BaseException:
        old.rename(path)
        raise
    with unfinished(old):
        pass


def write_whole(path: Path, data: bytes) -> None:
    """A file already there is replaced whole or stays as it was; OSError, which names `path`."""
    try:
        with replacing(path) as draft:
            draft.write_bytes(data)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def check_writable(path: Path, make_folders: bool = False) -> None:
    """OSError, which names `path`, where no file or folder can be written there.

    Known so before the work whose result is to be written. A folder that is missing counts as one that
    cannot be written, unless `make_folders`: then it will be made.
    """
    if not path.name:
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    folder = next(p for p in path.absolute().parents if not make_folders or os.path.lexists(p))
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
