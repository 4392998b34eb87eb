"""What every test shares: caches of our own, and properties that do not depend on the clock."""

import contextlib
import os
from pathlib import Path

import hypothesis
import platformdirs

ROOT = Path(__file__).resolve().parent.parent

# Set before NumPy is imported: two test processes with a pool of threads each only hinder one another.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# The user's kernel cache is left alone; ours lies in the checkout, so that a second run is quick.
os.environ.setdefault("SECATEUR_CACHE", str(ROOT / "build" / "cache"))


def share_libc_builds() -> None:
    """Keeps the libc that ziglang builds for each target (minutes of work) for the next checkout."""
    shared = Path(platformdirs.user_cache_dir("secateur-tests")) / "zig"
    ours = ROOT / "build" / "cache" / "zig"
    with contextlib.suppress(OSError):  # it is there already, or the user's cache cannot be written
        shared.mkdir(parents=True, exist_ok=True)
        ours.parent.mkdir(parents=True, exist_ok=True)
        ours.symlink_to(shared)


share_libc_builds()

hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")
