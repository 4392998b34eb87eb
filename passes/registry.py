"""The one list of passes."""

from __future__ import annotations

from .base import Pass
from .canonicalize import Canonicalize
from .fuse import Fuse
from .layout import InsertConversions
from .memory import Memory
from .select import Select

PASSES: tuple[type[Pass], ...] = (Canonicalize, Fuse, Select, InsertConversions, Memory)

BY_NAME: dict[str, type[Pass]] = {p.name: p for p in PASSES}
