"""A limit on the file: what selection kept of weights is held against the library that was made."""

from __future__ import annotations

import math
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from .codegen.backends.registry import backend_of
from .codegen.targets.target import Target
from .codegen.weights.registry import BEST, FAST, SMALLEST
from .ir.errors import SecateurError
from .options import Limits
from .passes.select.solver import ImpossibleError
from .pipeline import BESIDE_WEIGHTS

LIBRARY = "model.so"

Made = TypeVar("Made")


class SizeError(SecateurError):
    """A library of `bytes` bytes is too large."""

    def __init__(self, bytes: int, limit: int) -> None:
        super().__init__(f"nothing fits in {limit} bytes; the smallest library found has {bytes}")
        self.bytes, self.limit = bytes, limit


def check_size(draft: Path, limit: int | None) -> None:
    """SizeError where the library in an artifact of any kind has more than `limit` bytes."""
    if limit is not None and (bytes := library_bytes(draft)) > limit:
        raise SizeError(bytes, limit)


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
    if limits.weights_memory is not None:
        return (FAST, BEST, SMALLEST)
    return (None,) if limits.min_sqnr is not None else (None, BEST, SMALLEST)


def within_size(
    attempt: Callable[[Limits, str | None], Made], limits: Limits, codecs: Sequence[str | None] = (None,)
) -> Made:
    """What `attempt` makes under `limits`, with weights stored by the first of the codecs that keeps them.

    Raises SizeError with the smallest library found, or ImpossibleError where none was made.
    """
    found: SizeError | None = None
    for codec in codecs:
        last = codec == codecs[-1]
        try:
            return _within(attempt, codec, limits, last)
        except SizeError as error:
            found = error if found is None or error.bytes < found.bytes else found
        except ImpossibleError:
            if last and found is None:
                raise
    assert found is not None, "the last codec found nothing"
    raise found


def _within(
    attempt: Callable[[Limits, str | None], Made], codec: str | None, limits: Limits, last: bool
) -> Made:
    """The same with weights stored in one way.

    Selection knows the bytes of weights, not those of code: where the library is too large it has to do
    with as many fewer as were too many. Where that is less than any plan needs, the plan of least weights is
    made, which tells what a library needs at least; if other ways are left, only where it may fit.
    """
    asked, found, least = limits, None, False
    while True:
        try:
            return attempt(asked, codec)
        except SizeError as error:
            if least or (smaller := _tightened(asked, error)) is None:
                raise
            asked, found = smaller, error
        except ImpossibleError as error:
            toll, size = error.toll, limits.size
            if least or toll is None or size is None or (toll > size and not last):
                raise found or error from None
            asked, least = replace(limits, size=math.ceil(toll) + BESIDE_WEIGHTS), True


def _tightened(limits: Limits, found: SizeError) -> Limits | None:
    """The limits with as many bytes less as were too many; None where none are left, or weights have none."""
    assert limits.size is not None, "a size was too large"
    left = limits.size - (found.bytes - found.limit)
    return replace(limits, size=left) if left >= 0 and limits.weights_memory is None else None
