"""Independent work spread over the cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import islice
from threading import Lock
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")
Result = TypeVar("Result")
MOST = 8  # each holds the arrays of one piece of work


def unheard(_: int) -> None:
    """Listens to no progress."""


def on_all_cores(
    work: Callable[[Item], Result], items: Sequence[Item], done: Callable[[int], None] = unheard
) -> list[Result]:
    """`work` on every item, in order; `done` is told how many are finished.

    Matrix products keep to one thread each: NumPy's releases the interpreter's lock, and pieces of work are
    larger than products.
    """
    with single_threaded_products(), ThreadPoolExecutor(_at_once()) as pool:
        found = []
        for number, result in enumerate(pool.map(work, items), 1):
            found.append(result)
            done(number)
        return found


def streamed(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`work` on every item, in order; no more are read, and no more results kept, than run at once."""
    remaining = iter(items)
    while window := list(islice(remaining, _at_once())):
        yield from on_all_cores(work, window)


def _at_once() -> int:
    return min(MOST, cores())


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# Matrix products -----------------------------------------------------------------------------------

_inside: list[Any] = []  # one entry for each caller; the first restores when the last has left
_lock = Lock()


@contextmanager
def single_threaded_products() -> Iterator[None]:
    """NumPy's matrix products in one thread each, in the whole process, while any caller is inside.

    BLAS threads wait for each other in a loop: where other work has the cores, small products take ten
    times as long with them.
    """
    with _lock:
        _inside.append(_blas().limit(limits=1, user_api="blas") if not _inside else None)
    try:
        yield
    finally:
        with _lock:
            limit = _inside[0]
            _inside.pop()
            if not _inside:
                limit.restore_original_limits()


@cache
def _blas() -> ThreadpoolController:
    """Found once: looking through all libraries takes a millisecond."""
    return ThreadpoolController()
