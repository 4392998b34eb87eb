"""What takes long to compute and is always the same, kept for every test process, run and checkout."""

from __future__ import annotations

import fcntl
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import platformdirs

from secateur.ir.support.atomic import write_whole

Kept = TypeVar("Kept")


def kept(name: str, compute: Callable[[], Kept], folder: Path | None = None) -> Kept:
    """What `compute` gives, from a file of that name where it is there, else left there.

    The name says all that the answer depends on. One process computes while others that want the same wait;
    where the folder (default: the user's cache of our tests) cannot be written, each computes for itself.
    """
    place = folder or Path(platformdirs.user_cache_dir("secateur-tests"))
    path = place / f"{name}.pickle"
    with suppress(OSError):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (place / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                write_whole(path, pickle.dumps(compute()))
        found: Kept = pickle.loads(path.read_bytes())
        return found
    return compute()
