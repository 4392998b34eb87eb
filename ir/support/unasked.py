"""Libraries that another imports where it finds them, though nobody asked for them.

TVM imports PyTorch so, which takes longer than all the rest of a compilation from the cache, and serves
nothing here. A process that is ours alone does without; in a user's program TVM may be handed tensors of
PyTorch, so there it finds what it looks for. So it is with parts of TVM itself that serve nothing here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from threading import get_ident
from types import ModuleType

_UNASKED: set[str] = set()


def do_without(*names: str) -> None:
    """This process is ours alone: `hidden` hides these modules from now on."""
    _UNASKED.update(names)


class _Hiding:
    """Finds no such module, or `parts` of a library empty, for the thread that asks to do without."""

    def __init__(self, parts: Collection[str]) -> None:
        self.thread, self.parts = get_ident(), parts
        self.emptied: list[str] = []

    def find_spec(
        self, name: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if get_ident() != self.thread:
            return None
        if name in _UNASKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if name not in self.parts:
            return None
        self.emptied.append(name)
        return ModuleSpec(name, None, is_package=True)  # a package of no files


@contextmanager
def hidden(*parts: str) -> Iterator[None]:
    """Imports inside do not find what this process does without, unless it has been imported before.

    `parts` are modules that a library imports of itself and could do without: where this process is ours
    they are empty inside, and found whole by who asks for them afterwards.
    """
    hiding = _Hiding(parts if _UNASKED else ())
    sys.meta_path.insert(0, hiding)
    try:
        yield
    finally:
        sys.meta_path.remove(hiding)
        for name in hiding.emptied:
            _forget(name)


@contextmanager
def told(**variables: str) -> Iterator[None]:
    """Variables of the environment by which a library imported inside leaves out what nobody asked for.

    Where this process is ours; else, and afterwards, they are what they were.
    """
    before = {name: os.environ.get(name) for name in variables}
    if _UNASKED:
        os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _forget(name: str) -> None:
    """The module is imported anew when it is next asked for.

    Its package may be gone by now: an interrupt ends its import, say.
    """
    package, _, part = name.rpartition(".")
    sys.modules.pop(name, None)
    if package in sys.modules:
        vars(sys.modules[package]).pop(part, None)
