"""A limit on the file: what selection kept of weights is held against the library that was made."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from .ir.errors import SecateurError
from .options import Limits
from .passes.select.solver import ImpossibleError

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


def within_size(attempt: Callable[[Limits], Made], limits: Limits) -> Made:
    """What `attempt` makes under `limits`.

    Selection knows the bytes of weights, not those of code: where the library is too large it has to do
    with as many fewer as were too many. Raises SizeError, or ImpossibleError where weights alone are.
    """
    asked, found = limits, None
    while True:
        try:
            return attempt(asked)
        except SizeError as error:
            asked, found = _tightened(asked, error), error
        except ImpossibleError as error:
            if limits.size is None:
                raise
            raise found or ImpossibleError(f"no library has at most {limits.size} bytes: {error}") from None


def _tightened(limits: Limits, found: SizeError) -> Limits:
    assert limits.size is not None, "a size was too large"
    left = limits.size - (found.bytes - found.limit)
    if left < 0:
        raise found
    return replace(limits, size=left)
