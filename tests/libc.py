"""One place for what ziglang builds for each target: libc takes up to a minute of two cores, ours seconds."""

import contextlib
import os
from pathlib import Path

import platformdirs

# The user's kernel cache is left alone; ours lies in the checkout, so that a second run is quick.
CACHE = Path(os.environ.get("SECATEUR_CACHE") or Path(__file__).resolve().parent.parent / "build" / "cache")


def share_builds(cache: Path) -> Path:
    """Lets a cache of ours keep zig's builds and the runtime's objects in one place, for every checkout.

    Zig locks what it builds, so processes may share it; objects are named by hashes of all that makes them.
    Kernels stay apart.
    """
    for name in ("zig", "runtime"):
        shared = Path(platformdirs.user_cache_dir("secateur-tests")) / name
        with contextlib.suppress(OSError):  # it is there already, or the user's cache cannot be written
            shared.mkdir(parents=True, exist_ok=True)
            cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            (cache / name).symlink_to(shared)
    return cache
