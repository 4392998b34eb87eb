"""One place for the libc that ziglang builds for each target: it takes up to a minute of two cores."""

import contextlib
import os
from pathlib import Path

import platformdirs

# The user's kernel cache is left alone; ours lies in the checkout, so that a second run is quick.
CACHE = Path(os.environ.get("SECATEUR_CACHE") or Path(__file__).resolve().parent.parent / "build" / "cache")


def share_libc(cache: Path) -> Path:
    """Lets a cache of ours keep zig's builds in one place: for every test, process and checkout.

    Zig locks what it builds, so processes may share it. Kernels and the runtime's objects stay apart.
    """
    return _linked(cache, "zig", Path(platformdirs.user_cache_dir("secateur-tests")) / "zig")


def share_runtime(cache: Path) -> Path:
    """As `share_libc`, and the runtime's objects are the suite's: hashes of all that makes them name them."""
    return _linked(share_libc(cache), "runtime", CACHE / "runtime")


def _linked(cache: Path, name: str, shared: Path) -> Path:
    """The cache, whose folder `name` is the shared one unless it has one already."""
    with contextlib.suppress(OSError):  # it is there already, or the user's cache cannot be written
        shared.mkdir(mode=0o700, parents=True, exist_ok=True)
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        (cache / name).symlink_to(shared.resolve())
    return cache
