"""A limit on the file: what selection kept of weights is held against the library that was made."""

from __future__ import annotations

import math
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from .codegen.backends.registry import backend_of
from .codegen.targets.target import Target
from .codegen.weights.pacing import is_paced
from .codegen.weights.registry import BEST, FAST, SMALL, SMALLEST
from .ir.errors import SecateurError
from .ir.support.units import size_text
from .options import Limits
from .passes.select.solver import ImpossibleError
from .pipeline import BESIDE_WEIGHTS
from .runtime.manifest import read_manifest

LIBRARY = "model.so"
LEAST_BESIDE = 40 << 10
"""Bytes that every library has beside its weights: one of a single ReLU has 52,000."""
MOST_BUILDS = 3
"""Libraries that are made with weights stored in one way, before the one of least weights."""
_NEAR = 0.95
"""Times the least weights, which are an estimate where they are coded."""
_FAR = 0.5
"""Times the least weights coded by one codec: less no slower one makes of them."""

Made = TypeVar("Made")


class SizeError(SecateurError):
    """A library of `bytes` bytes, of which `weights` are its weights', is too large."""

    def __init__(self, bytes: int, limit: int, weights: int) -> None:
        super().__init__(
            f"nothing fits in {size_text(limit)}; the smallest library found has {size_text(bytes)}"
        )
        self.bytes, self.limit, self.weights = bytes, limit, weights


class LeastWeightsError(SecateurError):
    """A limit that is less than the `weights` bytes of any plan need, beside what every library has."""

    def __init__(self, weights: int, limit: int, way: str, found: SizeError | None) -> None:
        beside = LEAST_BESIDE if found is None else found.bytes - found.weights
        super().__init__(
            f"nothing fits in {size_text(limit)}: the weights alone need about {_about(weights)}, {way}, "
            f"and code and manifest {_about(beside)} or {'more' if found is None else 'so'}. "
            f"Allow more than {_about(weights + beside)}, prune the model, or quantize it to int8 where it "
            "computes in floats"
        )
        self.weights, self.limit = weights, limit


def _about(bytes: int) -> str:
    """Rounded up to thousands."""
    return size_text(math.ceil(bytes / 1000) * 1000)


def check_size(draft: Path, limit: int | None) -> None:
    """SizeError where the library in an artifact of any kind has more than `limit` bytes."""
    if limit is None or (bytes := library_bytes(draft)) <= limit:
        return
    manifest = read_manifest(draft)
    raise SizeError(bytes, limit, manifest.get("coded_bytes", manifest["weights_bytes"]))


def library_bytes(artifact: Path) -> int:
    """The library's own bytes: of the file, or within the folder or tar around it."""
    if artifact.is_dir():
        return (artifact / LIBRARY).stat().st_size
    if not tarfile.is_tarfile(artifact):
        return artifact.stat().st_size
    with tarfile.open(artifact) as tar:
        return tar.getmember(LIBRARY).size


def codecs_within(limits: Limits, compress: str | None, target: Target) -> tuple[str | None, ...]:
    """The codecs by which weights may be stored for a limit on the size, tried in turn; None is as they are.

    Where one was named it is all weights'; the smallest takes long to load, so it comes last.
    """
    if limits.size is None or compress is not None or backend_of(target).storage(target) is None:
        return (None,)
    coded = (BEST, SMALL, SMALLEST) if is_paced(BEST, target) else (BEST, SMALLEST)
    if limits.weights_memory is not None:
        return (FAST, *coded)
    return (None,) if limits.min_sqnr is not None else (None, *coded)


def way_of(codec: str | None) -> str:
    """How weights are stored by a codec, in words."""
    return "as they are" if codec is None else f"coded by '{codec}'"


def attempt_text(limits: Limits, codec: str | None) -> str:
    """What an attempt for a limit on the size tries, for those who watch."""
    if limits.weights_memory is not None:
        return f"weights {way_of(codec)}"
    allowed = max(0, (limits.size or 0) - BESIDE_WEIGHTS)
    return f"weights {way_of(codec)} in {size_text(allowed)}"


def within_size(
    attempt: Callable[[Limits, str | None], Made], limits: Limits, codecs: Sequence[str | None] = (None,)
) -> Made:
    """What `attempt` makes under `limits`, with weights stored by the first of the codecs that keeps them.

    Raises SizeError with the smallest library found; LeastWeightsError, before any library is made, where the
    limit is less than any needs; or ImpossibleError where another limit is not kept.
    """
    if limits.size is None:
        return attempt(limits, codecs[0])
    search = _Search(attempt, limits, limits.size)
    for codec in codecs[:-1]:
        try:
            return search.within(codec, last=False)
        except LeastWeightsError as error:
            if codec is not None and _FAR * error.weights + LEAST_BESIDE > limits.size:
                raise
        except (SizeError, ImpossibleError):
            continue
    try:
        return search.within(codecs[-1], last=True)
    except (SizeError, ImpossibleError) as error:
        raise search.found or error from None


@dataclass
class _Search(Generic[Made]):
    """Libraries within `size` bytes; what `found`, the smallest, has beside weights others may have too."""

    attempt: Callable[[Limits, str | None], Made]
    limits: Limits
    size: int
    found: SizeError | None = None

    @property
    def beside(self) -> int:
        """Bytes beside the weights: of the smallest library found, else a guess."""
        return BESIDE_WEIGHTS if self.found is None else self.found.bytes - self.found.weights

    def within(self, codec: str | None, last: bool) -> Made:
        """A library with weights stored in one way.

        Selection knows the bytes of weights, not those of code: where the library is too large it has to do
        with as many fewer as were too many. Where that is less than any plan needs, or was done often enough,
        the plan of least weights is made, which tells what a library needs at least; if other ways are left,
        only where it may fit.
        """
        allowed = self.size - self.beside
        for number in range(MOST_BUILDS + 1):
            try:
                return self._made(max(allowed, 0) if number < MOST_BUILDS else 0, codec)
            except SizeError as error:
                if self.limits.weights_memory is not None:
                    raise
                least, allowed = error, min(allowed, error.weights) - (error.bytes - error.limit)
            except ImpossibleError as error:
                if error.toll is None or self.limits.weights_memory is not None:
                    raise
                return self._of_least(error.toll, codec, last)
        raise least

    def _of_least(self, weights: float, codec: str | None, last: bool) -> Made:
        """The library with the least weights that any plan has, where it may fit."""
        beside = LEAST_BESIDE if last else max(LEAST_BESIDE, self.beside // 2)
        if _NEAR * weights + beside > self.size:
            raise LeastWeightsError(math.ceil(weights), self.size, way_of(codec), self.found)
        return self._made(math.ceil(weights), codec)

    def _made(self, weights: int, codec: str | None) -> Made:
        """A library with so many bytes of weights at most; SizeError where it is too large."""
        asked = replace(self.limits, size=weights + BESIDE_WEIGHTS)
        try:
            return self.attempt(self.limits if self.limits.weights_memory is not None else asked, codec)
        except SizeError as error:
            self.found = min((e for e in (self.found, error) if e), key=lambda e: e.bytes)
            raise
