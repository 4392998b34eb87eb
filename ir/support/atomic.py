"""Writing files whole or not at all."""

from __future__ import annotations

import os
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
