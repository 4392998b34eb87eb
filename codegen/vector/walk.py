"""Walking a box in vectors: what element-wise kernels on any element type share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..tir import T, load, splat, when
from .loops import (
    Expr,
    Tasks,
    dot,
    each_vector,
    nest_tasks,
    row_major_strides,
    split_rows,
    task_nest,
    task_rows,
)

Emit = Callable[[list[Expr], Expr, list[int], int, Expr], None]


@dataclass(frozen=True)
class Walk:
    """A box in the result's memory order, along its innermost dimension in vectors of `width`.

    `strides` are those of the operands. `element_bytes` is what an element's work is worth, in bytes moved.
    A `blocked` box is (images, blocks of channels, *spatial, lanes).
    """

    extents: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    width: int
    element_bytes: float
    blocked: bool = False

    @property
    def flat(self) -> bool:
        """Whether the box is one run of elements, of which tasks take whole vectors."""
        return len(self.extents) == 1 and self.extents[0] >= self.width

    @property
    def row_bytes(self) -> float:
        """Work of a row, which is a vector where the box is flat."""
        return self.element_bytes * (self.width if self.flat else self.extents[-1])

    @property
    def tasks(self) -> Tasks:
        if self.flat:
            return split_rows(self.extents[0] // self.width, self.row_bytes)
        return nest_tasks(self.extents[:-1], self.row_bytes)

    def emit(self, begin: Expr, end: Expr, vector: Emit) -> None:
        """Loops over the tasks begin <= t < end that call `vector` for every vector.

        It is given the operands' offsets, the result's, the operands' steps from lane to lane, the count
        of lanes, and the channel of the first lane (0 where the box is not blocked).
        """
        if 0 in self.extents:
            T.evaluate(0)
        elif self.flat:
            self._flat(begin, end, vector)
        else:
            self._rows(begin, end, vector)

    def _flat(self, begin: Expr, end: Expr, vector: Emit) -> None:
        steps, tasks, rest = [s[0] for s in self.strides], self.tasks, self.extents[0] % self.width

        def run(at: Expr, lanes: int) -> None:
            vector([at * step for step in steps], at, steps, lanes, 0)

        with task_rows(tasks, begin, end) as row:
            run(row * self.width, self.width)
        if rest:
            with when(end == tasks.count):
                run(self.extents[0] - rest, rest)

    def _rows(self, begin: Expr, end: Expr, vector: Emit) -> None:
        steps, dense = [s[-1] for s in self.strides], row_major_strides(self.extents)
        with task_nest(self.extents[:-1], self.row_bytes, begin, end) as index:
            starts = [dot(index, s[:-1]) for s in self.strides]
            channel = index[1] * self.extents[-1] if self.blocked else 0

            def run(at: Expr, lanes: int) -> None:
                offsets = [start + at * step for start, step in zip(starts, steps, strict=True)]
                vector(offsets, dot(index, dense[:-1]) + at, steps, lanes, channel)

            each_vector(self.extents[-1], self.width, run)


def loaded(buffer: Any, offset: Expr, step: int, lanes: int) -> Expr:
    """A vector of an operand; the same element in all lanes where it is broadcast along them."""
    return load(buffer, offset, lanes) if step else splat(buffer[offset], lanes)
