"""Writing files whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from .unfinished import unfinished


def write_whole(path: Path, data: bytes) -> None:
    """Writes beside, then renames: a file already there is replaced whole or stays as it was.

    OSError, which names `path`, where it cannot be written.
    """
    try:
        with unfinished(path.with_name(f".{path.name}.{os.getpid()}.partial")) as beside:
            beside.write_bytes(data)
            os.replace(beside, path)
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
