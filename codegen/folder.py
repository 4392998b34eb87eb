"""Where compiled things are kept between runs.

What lies there becomes machine code in an artifact, so it must be ours alone to write.
"""

from __future__ import annotations

import atexit
import functools
import os
import stat
import warnings
from contextlib import ExitStack
from pathlib import Path

import platformdirs

from secateur.ir.support.unfinished import temporary_folder


def cache_folder() -> Path:
    """`$SECATEUR_CACHE`, else the user's cache folder; made where it is missing, for its owner alone.

    One that belongs to somebody else, that everybody may write, or that we may not, is not used:
    a warning says so once, and what would be kept is kept until the process ends.
    """
    return _usable(chosen_folder())


def chosen_folder() -> Path:
    """Where the cache is asked to be."""
    chosen = os.environ.get("SECATEUR_CACHE")
    return Path(chosen).absolute() if chosen else Path(platformdirs.user_cache_dir("secateur"))


@functools.cache
def _usable(folder: Path) -> Path:
    reason = _made(folder) or refusal(folder)
    if reason is None:
        return folder
    warnings.warn(f"the cache {folder} {reason}; nothing is kept there", stacklevel=3)
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(temporary_folder("secateur-cache-"))


def _made(folder: Path) -> str | None:
    """Why the folder cannot be made, or None."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        return f"cannot be made ({error.strerror})"
    return None


def refusal(folder: Path) -> str | None:
    """Why a folder that exists is not fit to be the cache, or None."""
    found = folder.stat()
    if found.st_uid != os.geteuid():
        return f"belongs to another user (number {found.st_uid})"
    if found.st_mode & stat.S_IWOTH:
        return f"can be written by everybody (chmod 700 {folder} helps)"
    return None if os.access(folder, os.W_OK | os.X_OK) else "cannot be written"
