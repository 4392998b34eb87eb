"""The target of a name that a user gave."""

from __future__ import annotations

from .host import host
from .rows import named
from .target import Target


def find(name: str) -> Target:
    """The row of that name, or this machine for `host`; SecateurError with the known ones for another."""
    return host() if name == "host" else named(name, "host")
