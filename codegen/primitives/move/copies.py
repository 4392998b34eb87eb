"""Code that moves elements: boxes of strided copies, which serve every operator that only moves data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ...kernel import Kernel
from ...tir import T, load, prim_func, splat, store
from ...vector.loops import Expr, Nest, Tasks, dot, each_vector, nest_tasks, task_nest
from ...vector.shuffles import hold, transpose

FILL = -1  # the pointer of a box that is filled
CHUNK = 4096  # elements of a contiguous run that one task copies, about


@dataclass(frozen=True)
class Box:
    """result[at + i . target] = x_pointer[start + i . source] for every index i below `extents`."""

    extents: tuple[int, ...]
    source: tuple[int, ...]
    target: tuple[int, ...]
    start: int = 0
    at: int = 0
    pointer: int = 0

    def normalized(self) -> Box:
        """Dimensions in the result's memory order, merged where they can be."""
        order = sorted(range(len(self.extents)), key=lambda i: -self.target[i])
        pick = partial(_picked, order)
        nest = _divided(Nest(pick(self.extents), (pick(self.source), pick(self.target))).collapsed())
        source, target = nest.strides
        return Box(nest.extents, source, target, self.start, self.at, self.pointer)


def _divided(nest: Nest) -> Nest:
    """A long innermost dimension with little around it as two, so that tasks can share it."""
    *outer, extent = nest.extents
    chunks = [c for c in range(CHUNK // 8, CHUNK + 1) if extent % c == 0]
    if math.prod(outer) >= 16 or extent < 2 * CHUNK or not chunks:
        return nest
    strides = tuple((*s[:-1], s[-1] * chunks[-1], s[-1]) for s in nest.strides)
    return Nest((*outer, extent // chunks[-1], chunks[-1]), strides)


def _picked(order: Sequence[int], values: Sequence[int]) -> tuple[int, ...]:
    return tuple(values[i] for i in order)


@dataclass(frozen=True)
class CopySpec:
    """Boxes that together cover the result, over `inputs` pointers of one element type."""

    boxes: tuple[Box, ...]
    dtype: str
    inputs: int = 1
    fill: float = 0.0


def copy_spec(boxes: Sequence[Box], dtype: str, inputs: int = 1, fill: float = 0.0) -> CopySpec:
    """The specification with boxes normalized and empty ones dropped."""
    kept = [box.normalized() for box in boxes if math.prod(box.extents)]
    return CopySpec(tuple(kept), dtype, inputs, fill)


def copy_kernel(name: str, spec: CopySpec, lanes: int) -> Kernel:
    """Tasks are those of each box in turn."""
    total = sum(_box_tasks(box, lanes).count for box in spec.boxes)
    return Kernel(name, spec, partial(_build, spec, lanes), max(1, total))


def _box_tasks(box: Box, lanes: int) -> Tasks:
    outer, inner_bytes = _task_extents(box, lanes)
    return nest_tasks(outer, inner_bytes)


def _square_dimension(box: Box, lanes: int) -> int | None:
    """The source's contiguous dimension, where squares can be transposed between it and the innermost."""
    if box.pointer == FILL or box.target[-1] != 1 or box.source[-1] in (0, 1, -1) or box.extents[-1] < lanes:
        return None
    fitting = [
        i for i, (e, s) in enumerate(zip(box.extents, box.source, strict=True)) if s == 1 and e >= lanes
    ]
    return fitting[0] if fitting else None


def _task_extents(box: Box, lanes: int) -> tuple[tuple[int, ...], float]:
    """Extents of the loops around the innermost code, and the bytes that code moves."""
    square = _square_dimension(box, lanes)
    if square is None:
        return box.extents[:-1], 8.0 * box.extents[-1]
    outer = [e for i, e in enumerate(box.extents[:-1]) if i != square]
    return (*outer, -(-box.extents[square] // lanes)), 8.0 * lanes * box.extents[-1]


def _build(spec: CopySpec, lanes: int) -> Any:
    names = [(f"x{i}", spec.dtype) for i in range(spec.inputs)]
    return prim_func([*names, ("result", spec.dtype)], _Body(spec, lanes))


class _Body:
    """Emits one loop nest for each box; tasks are numbered through the boxes."""

    def __init__(self, spec: CopySpec, lanes: int) -> None:
        self.spec, self.lanes = spec, lanes

    def __call__(self, *arguments: Any) -> None:
        *self.inputs, self.result, _, begin, end = arguments
        first = 0
        for box in self.spec.boxes:
            count = _box_tasks(box, self.lanes).count
            lower, upper = T.max(begin - first, 0), T.min(end - first, count)
            self._box(box, lower, T.max(lower, upper))
            first += count
        if not self.spec.boxes:
            T.evaluate(0)

    def _box(self, box: Box, begin: Expr, end: Expr) -> None:
        outer, inner_bytes = _task_extents(box, self.lanes)
        with task_nest(outer, inner_bytes, begin, end) as index:
            square = _square_dimension(box, self.lanes)
            if square is None:
                self._row(box, box.start + dot(index, box.source[:-1]), box.at + dot(index, box.target[:-1]))
            else:
                self._strip(box, square, index)

    def _row(self, box: Box, start: Expr, at: Expr) -> None:
        """The innermost dimension, a vector at a time where the result is contiguous."""
        step = box.target[-1]
        lanes = 1 if step != 1 else self._row_lanes(box)

        def body(i: Expr, width: int) -> None:
            value = self._read(box, start + i * box.source[-1], width)
            store(self.result, at + i * step, value, width)

        each_vector(box.extents[-1], lanes, body)

    def _row_lanes(self, box: Box) -> int:
        """A whole vector of narrow elements, unless they are gathered one by one."""
        if box.pointer != FILL and box.source[-1] not in (0, 1, -1):
            return self.lanes
        return self.lanes * max(1, 4 // np.dtype(self.spec.dtype).itemsize)

    def _read(self, box: Box, start: Expr, width: int) -> Expr:
        if box.pointer == FILL:
            return splat(self.fill_value(), width, self.spec.dtype)
        source, stride = self.inputs[box.pointer], box.source[-1]
        if stride == 0 or width == 1:
            return splat(source[start], width, self.spec.dtype)
        if stride == -1:
            forward = hold(source[T.Ramp(start - (width - 1), 1, width)], width, self.spec.dtype)
            return T.Shuffle([forward], list(range(width - 1, -1, -1)))
        return source[T.Ramp(start, stride, width)]

    def fill_value(self) -> float:
        return self.spec.fill if self.spec.dtype.startswith("float") else int(self.spec.fill)

    def _strip(self, box: Box, square: int, index: list[Expr]) -> None:
        """Squares of `lanes` by `lanes` along the innermost dimension; the last ones overlap those before."""
        lanes, extent = self.lanes, box.extents[-1]
        others = [i for i in range(len(box.extents) - 1) if i != square]
        row = T.min(index[-1] * lanes, box.extents[square] - lanes)
        start = box.start + dot(index[:-1], [box.source[i] for i in others]) + row
        at = box.at + dot(index[:-1], [box.target[i] for i in others]) + row * box.target[square]
        with T.serial(0, -(-extent // lanes)) as i:
            column = T.min(i * lanes, extent - lanes)
            self._square(box, square, start + column * box.source[-1], at + column)

    def _square(self, box: Box, square: int, start: Expr, at: Expr) -> None:
        lanes, dtype, source = self.lanes, self.spec.dtype, self.inputs[box.pointer]
        rows = [hold(load(source, start + r * box.source[-1], lanes), lanes, dtype) for r in range(lanes)]
        for c, column in enumerate(transpose(rows, dtype)):
            store(self.result, at + c * box.target[square], column, lanes)
