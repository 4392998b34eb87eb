"""The one list of passes."""

from __future__ import annotations

from .base import Pass
from .canonicalize import Canonicalize
from .fuse import Fuse

PASSES: tuple[type[Pass], ...] = (Canonicalize, Fuse)

BY_NAME: dict[str, type[Pass]] = {p.name: p for p in PASSES}
