"""Libraries that another imports where it finds them, though nobody asked for them.

TVM imports PyTorch so, which takes longer than all the rest of a compilation from the cache, and serves
nothing here. A process that is ours alone does without; in a user's program TVM may be handed tensors of
PyTorch, so there it finds what it looks for.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import get_ident
from types import ModuleType

_UNASKED: set[str] = set()


def do_without(*names: str) -> None:
    """This process is ours alone: `hidden` hides these modules from now on."""
    _UNASKED.update(names)


class _Hiding:
    """Finds that there is no such module, for the thread that asks to import without it."""

    def __init__(self) -> None:
        self.thread = get_ident()

    def find_spec(self, name: str, _path: Sequence[str] | None, _target: ModuleType | None = None) -> None:
        if name in _UNASKED and get_ident() == self.thread:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@contextmanager
def hidden() -> Iterator[None]:
    """Imports inside do not find what this process does without, unless it has been imported before."""
    hiding = _Hiding()
    sys.meta_path.insert(0, hiding)
    try:
        yield
    finally:
        sys.meta_path.remove(hiding)
