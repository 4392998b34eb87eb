"""Who watches long work."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many of it are done, and of how many."""


def silent(_what: str, _done: int, _total: int) -> None:
    """Progress that nobody watches."""
