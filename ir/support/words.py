"""How messages speak of names that do not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

_SHOWN = 5


def nearest(name: str, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """The known name that `name` may have been meant to be; None where none is as near (1: equal)."""
    return next(iter(difflib.get_close_matches(name, list(known), 1, likeness)), None)


def meant(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'conv1'?` where a known name is near, else nothing."""
    near = nearest(name, known)
    return f"; did you mean '{near}'?" if near else ""


def known_names(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'fuse'? Known: canonicalize, fuse`, the end of a sentence about an unknown name."""
    known = list(known)
    hint = meant(name, known)
    return f"{hint} Known: {', '.join(known)}" if hint else f"; known: {', '.join(known) or 'none'}"


def listed(unknown: Sequence[str], known: Iterable[str]) -> str:
    """The first few unknown names, and the known one that is nearest to the first."""
    more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
    return ", ".join(f"'{name}'" for name in unknown[:_SHOWN]) + more + meant(unknown[0], known)
