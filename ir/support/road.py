"""A model's road by the names of its stages: which pass may follow which, told before any pass is imported.

What each stage forbids is in `ir.stages`.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from ..errors import SecateurError

READ, QUANTIZED, SELECTED, LAID_OUT, PLACED = "read", "quantized", "selected", "laid-out", "placed"


def follows(given: str, taken: str) -> bool:
    """Whether a pass that takes `taken` may follow one that gives `given`; quantized is also as read."""
    return given == taken or (given, taken) == (QUANTIZED, READ)


def check_order(steps: Iterable[tuple[str, str, str]]) -> None:
    """Of passes as (name, stage taken, stage given): SecateurError where one takes another than it gets."""
    for (first, _, given), (second, taken, _) in pairwise(steps):
        if not follows(given, taken):
            raise SecateurError(f"pass {second} takes stage {taken}, but {first} before it gives {given}")
