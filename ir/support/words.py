"""How messages speak of names that do not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

_SHOWN = 5


def listed(unknown: Sequence[str], known: Iterable[str]) -> str:
    """The first few unknown names, and the known one that is nearest to the first."""
    more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
    near = difflib.get_close_matches(unknown[0], list(known), 1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return ", ".join(f"'{name}'" for name in unknown[:_SHOWN]) + more + hint
