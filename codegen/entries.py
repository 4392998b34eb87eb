"""Files of the cache: each carries a checksum of itself, so that a damaged one counts as absent."""

from __future__ import annotations

import hashlib
from pathlib import Path

from secateur.ir.support.atomic import write_whole

_MAGIC = b"secateur cache 1\n"
_DIGEST = hashlib.sha256().digest_size


def read_entry(path: Path) -> bytes | None:
    """What `write_entry` wrote under this name; None where it is missing, cut off, changed or another's."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    head, data = content[: len(_MAGIC) + _DIGEST], content[len(_MAGIC) + _DIGEST :]
    return data if head == _MAGIC + _digest(path.name, data) else None


def write_entry(path: Path, data: bytes) -> None:
    """Readers see the old entry or the new. OSError where it cannot be written."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(path, _MAGIC + _digest(path.name, data) + data)


def _digest(name: str, data: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\0" + data).digest()
