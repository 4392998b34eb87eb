"""How a file of IR text is told from others; light to import."""

from __future__ import annotations

from pathlib import Path

SUFFIX = ".sir"
_BEGINNINGS = (b"graph @", b"//")


def is_ir_text(path: Path, head: bytes) -> bool:
    """Whether a file holds IR text, by its name or its first bytes."""
    return path.suffix == SUFFIX or head.lstrip().startswith(_BEGINNINGS)
