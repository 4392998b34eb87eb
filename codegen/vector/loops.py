"""Loop nests that generic kernels share: collapsing dimensions, splitting rows into tasks.

A *nest* is a box of extents with one stride per operand and dimension, in
elements. Strides of 0 broadcast, negative ones walk backwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from ..tir import T, when

Expr = Any  # a TIR expression

GRAIN_BYTES = 32 << 10  # a task moves about this much; less is not worth a thread's wake-up
MOST_TASKS = 64
_ENOUGH = 16  # rows to share out
_FINEST: ContextVar[bool] = ContextVar("finest", default=False)


@contextmanager
def finest() -> Iterator[None]:
    """Inside, every row of work is a task of its own: where threads are many and wake up for nothing."""
    before = _FINEST.set(True)
    try:
        yield
    finally:
        _FINEST.reset(before)


def row_major_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides in elements of a dense row-major array."""
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


def broadcast_strides(shape: Sequence[int], to: Sequence[int]) -> tuple[int, ...]:
    """Strides of a dense array of `shape` seen as broadcast to `to`."""
    aligned = (1,) * (len(to) - len(shape)) + tuple(shape)
    return tuple(0 if d == 1 else s for d, s in zip(aligned, row_major_strides(aligned), strict=True))


@dataclass(frozen=True)
class Nest:
    """Extents, and for every operand its strides."""

    extents: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        if any(len(s) != len(self.extents) for s in self.strides):
            raise ValueError(f"strides {self.strides} do not fit extents {self.extents}")

    @property
    def empty(self) -> bool:
        return 0 in self.extents

    def collapsed(self) -> Nest:
        """The same walk, unit dimensions dropped, mergeable neighbours merged; at least one dimension."""
        dims: list[tuple[int, tuple[int, ...]]] = []
        for i, extent in enumerate(self.extents):
            steps = tuple(s[i] for s in self.strides)
            if extent == 1:
                continue
            if dims and all(outer == inner * extent for outer, inner in zip(dims[-1][1], steps, strict=True)):
                dims[-1] = (dims[-1][0] * extent, steps)
            else:
                dims.append((extent, steps))
        dims = dims or [(1, (0,) * len(self.strides))]
        return Nest(
            tuple(d for d, _ in dims), tuple(tuple(s[i] for _, s in dims) for i in range(len(self.strides)))
        )


@dataclass(frozen=True)
class Tasks:
    """`rows` equal pieces of work in tasks of `group` rows."""

    rows: int
    group: int

    @property
    def count(self) -> int:
        return max(1, -(-self.rows // self.group))


def split_rows(rows: int, row_bytes: float) -> Tasks:
    """Tasks of about `GRAIN_BYTES` each, at most `MOST_TASKS`; never more than rows."""
    if _FINEST.get():
        return Tasks(rows, 1)
    wanted = min(rows, MOST_TASKS, int(rows * row_bytes / GRAIN_BYTES))
    return Tasks(rows, -(-rows // max(1, wanted)) or 1)


def leading(extents: Sequence[int]) -> int:
    """How many leading dimensions to share out among tasks: the fewest that give `_ENOUGH` rows."""
    if _FINEST.get():
        return len(extents)
    rows = 1
    for count, extent in enumerate(extents):
        if rows >= _ENOUGH:
            return count
        rows *= extent
    return len(extents)


@contextmanager
def task_rows(tasks: Tasks, begin: Expr, end: Expr) -> Iterator[Expr]:
    """A loop over the rows of tasks begin <= t < end."""
    with T.serial(begin * tasks.group, T.min(end * tasks.group, tasks.rows)) as row:
        yield row


def unflatten(index: Expr, extents: Sequence[int]) -> list[Expr]:
    """The multi-index of a flat index that is never negative."""
    found: list[Expr] = []
    for i in reversed(range(len(extents))):
        outermost = math.prod(extents[:i]) == 1
        found.append(0 if extents[i] == 1 else index if outermost else T.truncmod(index, extents[i]))
        index = index if outermost else T.truncdiv(index, extents[i])
    return found[::-1]


@contextmanager
def loops(extents: Sequence[int]) -> Iterator[list[Expr]]:
    """Serial loops over a box; no loop where an extent is 1."""
    with ExitStack() as stack:
        yield [0 if e == 1 else stack.enter_context(T.serial(0, e)) for e in extents]


def dot(indices: Sequence[Expr], strides: Sequence[int]) -> Expr:
    """The offset of a multi-index."""
    total: Expr = 0
    for index, stride in zip(indices, strides, strict=True):
        if stride and not (isinstance(index, int) and index == 0):
            total = total + index * stride
    return total


@contextmanager
def task_nest(extents: Sequence[int], row_bytes: float, begin: Expr, end: Expr) -> Iterator[list[Expr]]:
    """Loops over a box whose leading dimensions are shared out among tasks; see `nest_tasks`."""
    cut = leading(extents)
    with task_rows(nest_tasks(extents, row_bytes), begin, end) as row, loops(extents[cut:]) as inner:
        yield [*unflatten(row, extents[:cut]), *inner]


def nest_tasks(extents: Sequence[int], innermost_bytes: float) -> Tasks:
    """The tasks of `task_nest`: rows are the leading dimensions, each of the others' worth of bytes."""
    cut = leading(extents)
    return split_rows(math.prod(extents[:cut]), math.prod(extents[cut:]) * innermost_bytes)


def each_vector(extent: int, lanes: int, body: Callable[[Expr, int], None]) -> None:
    """`body(start, width)` over whole vectors in a loop, then once for the rest in a narrower vector."""
    whole = extent // lanes
    if whole == 1:
        body(0, lanes)
    elif whole:
        with T.serial(0, whole) as i:
            body(i * lanes, lanes)
    if extent % lanes:
        body(whole * lanes, extent % lanes)


def vector_rows(outer: Sequence[int], inner: int, lanes: int) -> tuple[int, ...]:
    """Extents of the rows that `task_vectors` shares out: a row is one vector of an inner dimension."""
    return (*outer, -(-inner // lanes))


def task_vectors(
    outer: Sequence[int], inner: int, lanes: int, row_bytes: float, begin: Expr, end: Expr,
    body: Callable[[list[Expr], Expr, int], None],
) -> None:  # fmt: skip
    """`body(outer index, start, width)` for vectors along an inner dimension; each is a row of work."""
    whole, rest = divmod(inner, lanes)
    with task_nest(vector_rows(outer, inner, lanes), row_bytes, begin, end) as index:
        *place, chunk = index
        if not rest or not whole:
            body(place, chunk * lanes, lanes if whole else rest)
            return
        with when(chunk < whole):
            body(place, chunk * lanes, lanes)
        with when(chunk == whole):
            body(place, whole * lanes, rest)
