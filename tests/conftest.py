"""What every test shares: caches of our own, and the same random numbers in every run."""

import gc
import os
import sys

import hypothesis

from secateur.ir.support.unasked import do_without

from .libc import CACHE, share_builds

# Where Python is told to keep no bytecode, each of many processes would compile all our modules anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Set before NumPy is imported: two test processes with a pool of threads each only hinder one another.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ["SECATEUR_CACHE"] = str(share_builds(CACHE))
# As many test processes as cores: others to compile with would each load the compiler, and wait for a core.
os.environ.setdefault("SECATEUR_JOBS", "1")

# Ten thousand tests and TVM's classes stay to the end: the collector need not look for them again and again.
gc.set_threshold(20_000, 10, 10)

do_without("torch")  # TVM would import it in each process, which takes longer than TVM itself

# What tests build by zig themselves takes the libc that artifacts take.
os.environ["ZIG_GLOBAL_CACHE_DIR"] = str((CACHE / "zig").resolve())

# The same examples in every run; SECATEUR_EXPLORE=1 looks for new ones, and remembers what failed.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.register_profile("explore", deadline=None)
hypothesis.settings.load_profile("explore" if os.environ.get("SECATEUR_EXPLORE") else "repeatable")


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
