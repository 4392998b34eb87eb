"""Times that were measured, kept in the cache: of a kernel, on this processor, its weights so far away."""

from __future__ import annotations

import functools
import hashlib
import json
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from secateur.codegen.cache import compiler_fingerprint
from secateur.codegen.entries import read_entry, write_entry
from secateur.codegen.folder import cache_folder

NEAREST, FARTHEST = 1 << 16, 1 << 27  # bytes between two uses of the same weights, as far as it matters


@dataclass(frozen=True)
class Timing:
    """Seconds of a kernel: the median, the quartiles around it, and of how many runs."""

    seconds: float
    quartiles: tuple[float, float]
    repeats: int


def timing(samples: Sequence[float]) -> Timing:
    """What some runs say; of a single one the quartiles are that run."""
    if len(samples) == 1:
        return Timing(samples[0], (samples[0], samples[0]), 1)
    low, middle, high = statistics.quantiles(samples, n=4, method="inclusive")
    return Timing(middle, (low, high), len(samples))


def distance_of(weight_bytes: int) -> int:
    """Bytes that a network with so many of weights reads between two uses of one: a power of two."""
    return min(max(1 << max(0, weight_bytes - 1).bit_length(), NEAREST), FARTHEST)


@functools.cache
def processor() -> str:
    """This machine's processor by name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


@dataclass(frozen=True)
class Samples:
    """The cache, for weights `distance` bytes away."""

    distance: int

    def recall(self, symbol: str) -> tuple[float, ...]:
        """Seconds of earlier runs; none where the entry is missing or damaged."""
        data = read_entry(self._path(symbol))
        return tuple(json.loads(data)["seconds"]) if data else ()

    def add(self, symbol: str, *seconds: float) -> None:
        """Keeps some more runs; readers see the old entry or the new."""
        write_entry(self._path(symbol), json.dumps({"seconds": [*self.recall(symbol), *seconds]}).encode())

    def forget(self, symbol: str) -> None:
        self._path(symbol).unlink(missing_ok=True)

    def _path(self, symbol: str) -> Path:
        text = f"{compiler_fingerprint()} {processor()} {self.distance}"
        return cache_folder() / "costs" / f"{symbol}-{hashlib.sha256(text.encode()).hexdigest()[:24]}"
