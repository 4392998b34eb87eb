"""Time over counts, primitives and layouts as tables for `weighing.py`.

Variables: those of `domains.py`; for each operator its way, that is, a combination of layouts by the
fastest primitive that has it; for each value, or for several that the same operators read, the layouts
that it is had in (as in `select/tables.py`). An operator's table is over its way and the counts that its
extents depend on, a value's over its maker's way, the layouts wished, and its own counts. Where the
branch is gone that an operator belongs to, its way is one that wants nothing and makes nothing (`NONE`);
where an operator is left to one of its operands, it has a way for each layout, that of the operand.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.choice import Choice
from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.types import ROW_MAJOR, Layout

from ..select.problem import Problem, Step, Way
from ..select.tables import Available, Labelling
from .bypasses import NOTHING, Left
from .domains import Domains
from .extents import Extents, Point, PointCosts
from .sizes import UnsizedError, at_shape

Floats = NDArray[np.float64]
Row = tuple[tuple[int, ...], Floats]
"""A table: its variables, and an axis for each."""

NONE = ""
"""In place of a layout: none is wanted, nothing is made."""

Form = tuple[tuple[str, ...], str]
"""The layouts of the operands computed at run time, and of the result."""


@dataclass(eq=False)
class _Timed:
    """An operator's seconds, by form, over the variables `counts`; infinite where there is no such way."""

    op: Operator
    counts: tuple[int, ...]
    forms: dict[Form, Floats]

    def passed(self, left: Left, layouts: Iterable[str], where: Floats) -> None:
        """Adds the ways to be left to an operand, in the same layout, that cost nothing `where`."""
        dynamic = [i for i, v in enumerate(self.op.operands) if not v.is_constant]
        for layout in layouts:
            wants = tuple(layout if i in left.operands else NONE for i in dynamic)
            self.forms[wants, layout] = where


@dataclass(eq=False)
class Times:
    """Tables of seconds over the variables of `domains`, in which those of layouts are reserved."""

    graph: Graph
    extents: Extents
    domains: Domains
    costs: PointCosts
    tables: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.operators = [op for op in self.graph.operators if op.name != "nn.constant"]
        timed = [self._timed(op) for op in self.operators]
        self._pass(timed)
        self.layouts = self._layouts(timed)
        self.values = [v for v in self.graph.values() if not v.is_constant]
        self.of_value = {v: self.domains.of_value(v) for v in self.values}
        for one in timed:
            self._drop(one, self.layouts)
        labelling = _Labelling(self._nominal(timed))
        first = self.domains.reserved(labelling.sizes)
        for i, one in enumerate(timed):
            rows = np.stack([one.forms[form] for form in _forms(one)])
            self.tables.append(((first + i, *one.counts), rows))
        for table in labelling.tables[len(timed) :]:
            self.tables.append((tuple(first + v for v in table.variables), table.costs))
        for value, maker, variable, states in labelling.read:
            self._convert(self.values[value], maker, first, variable, states, timed)

    def _timed(self, op: Operator) -> _Timed:
        counts = self.domains.of_operator(op)
        shape = self.domains.shape(counts)
        forms: dict[Form, Floats] = {}
        for at, point in enumerate(self.domains.points(counts)):
            for form, seconds in self._ways(op, point):
                rows = forms.setdefault(form, np.full(shape, math.inf).reshape(-1))
                rows[at] = min(rows[at], seconds)
        return _Timed(op, counts, {form: rows.reshape(shape) for form, rows in forms.items()})

    def _ways(self, op: Operator, point: Point) -> Iterator[tuple[Form, float]]:
        """None where the operator has no meaning at these counts, or is left to an operand."""
        left = self.extents.branches.left(op, point.gone)
        if left is NOTHING:
            yield (tuple(NONE for _ in _dynamic(op)), NONE), 0.0
            return
        with suppress(UnsizedError):
            for choice in self.costs.choices(op, point):
                yield _form(op, choice, left), choice.seconds

    def _pass(self, timed: Sequence[_Timed]) -> None:
        """Gives operators that may be left to an operand the ways for that."""
        known = {layout for one in timed for wants, makes in one.forms for layout in (*wants, makes)}
        for one in timed:
            lefts = [self.extents.branches.left(one.op, p.gone) for p in self.domains.points(one.counts)]
            passing = [left is not None and left.is_operand and left is not NOTHING for left in lefts]
            if any(passing):
                free = np.where(passing, 0.0, math.inf).reshape(self.domains.shape(one.counts))
                left = next(left for left, passes in zip(lefts, passing, strict=True) if passes and left)
                one.passed(left, sorted({ROW_MAJOR.name, *known} - {NONE}), free)

    # Forms that no plan needs

    def _layouts(self, timed: Sequence[_Timed]) -> dict[Value, set[str]]:
        """The layouts in which each value may be made or wanted."""
        found: dict[Value, set[str]] = {}
        for value in (*self.graph.inputs, *self.graph.outputs):
            found.setdefault(value, set()).add(ROW_MAJOR.name)
        for one in timed:
            for wants, makes in one.forms:
                for value, layout in zip(_dynamic(one.op), wants, strict=True):
                    found.setdefault(value, set()).add(layout)
                for value in one.op.results:
                    found.setdefault(value, set()).add(makes)
        return {value: layouts - {NONE} for value, layouts in found.items()}

    def _drop(self, one: _Timed, layouts: dict[Value, set[str]]) -> None:
        """Drops forms for which another, with conversions from and to any layout, is nowhere slower."""
        if len(one.forms) == 1:
            return
        points = list(self.domains.points(one.counts))
        to = {
            (i, layout): self._worst(value, layouts[value], {layout}, points)
            for i, value in enumerate(_dynamic(one.op))
            for layout in layouts[value]
        }
        after = {
            made: sum(self._worst(value, {made}, layouts[value], points) for value in one.op.results)
            for made in {makes for _, makes in one.forms} - {NONE}
        }
        for form in sorted(one.forms, key=lambda f: -float(np.min(one.forms[f]))):
            others = (f for f in one.forms if f != form)
            if any(self._beats(one, other, form, to, after) for other in others):
                del one.forms[form]

    @staticmethod
    def _beats(one: _Timed, form: Form, other: Form, to: dict[Any, Floats], after: dict[str, Any]) -> bool:
        """Whether `form` is at least as fast as `other` even if all that differs is converted."""
        (wants, makes), (others, made) = form, other
        if [layout == NONE for layout in (*wants, makes)] != [layout == NONE for layout in (*others, made)]:
            return False
        total = one.forms[form].reshape(-1)
        for i, (layout, given) in enumerate(zip(wants, others, strict=True)):
            total = total + (to[i, layout] if layout != given else 0.0)
        total = total + (after[makes] if makes != made else 0.0)
        return bool((total <= one.forms[other].reshape(-1)).all())

    def _worst(self, value: Value, sources: set[str], wanted: set[str], points: Sequence[Point]) -> Floats:
        """Seconds to convert a value from the worst of some layouts to all of others, at each point."""
        shapes = [self.extents.shape(value, point) for point in points]
        types = {shape: at_shape(value, shape).type for shape in dict.fromkeys(shapes)}
        worst = {
            shape: max(
                sum(self.costs.table.conversion(type, Layout(a), Layout(b)) for b in wanted if b != a)
                for a in sources
            )
            for shape, type in types.items()
        }
        return np.array([worst[shape] for shape in shapes])

    # Layouts of values

    def _nominal(self, timed: Sequence[_Timed]) -> Problem:
        """The problem without its costs: steps, what their ways want and make, and who reads what."""
        numbers = {v: i for i, v in enumerate(self.values)}
        steps = tuple(
            Step(
                tuple(numbers[v] for v in _dynamic(one.op)),
                tuple(numbers[v] for v in one.op.results),
                tuple(Way("", wants, makes, float(i)) for i, (wants, makes) in enumerate(_forms(one))),
            )
            for one in timed
        )
        inputs, outputs = (
            tuple(numbers[v] for v in ends) for ends in (self.graph.inputs, self.graph.outputs)
        )
        return Problem(steps, tuple({} for _ in self.values), {}, inputs, outputs, ROW_MAJOR.name)

    def _convert(
        self,
        value: Value,
        maker: int | None,
        first: int,
        variable: int,
        states: Sequence[Available],
        timed: Sequence[_Timed],
    ) -> None:
        """Adds the seconds to have a value in the layouts of each state, by its maker's way and counts."""
        table = self.costs.table
        made = [ROW_MAJOR.name] if maker is None else [makes for _, makes in _forms(timed[maker])]
        counts = self.of_value[value]
        shape = (len(made), len(states), *self.domains.shape(counts))
        rows = np.zeros((len(made), len(states), math.prod(shape[2:])))
        around = self.extents.branches.around(value.producer) if value.producer else frozenset()
        if any(state - {layout} for state in states for layout in made):
            for at, point in enumerate(self.domains.points(counts)):
                if around & point.gone:
                    continue
                type = at_shape(value, self.extents.shape(value, point)).type
                for i, layout in ((i, layout) for i, layout in enumerate(made) if layout != NONE):
                    for j, state in enumerate(states):
                        others = [other for other in state if other != layout]
                        known = self.layouts[value].issuperset(others)
                        seconds = (table.conversion(type, Layout(layout), Layout(o)) for o in others)
                        rows[i, j, at] = sum(seconds) if known else math.inf
        if rows.any():
            variables = (first + (maker or 0), first + variable, *counts)
            costs = rows.reshape(shape)
            self.tables.append((variables, costs) if maker is not None else (variables[1:], costs[0]))


def _dynamic(op: Operator) -> list[Value]:
    return [v for v in op.operands if not v.is_constant]


def _form(op: Operator, choice: Choice, left: Left | None) -> Form:
    """By the operands of `op`; the choice is for what is left of it."""
    places = range(len(op.operands)) if left is None else left.operands
    wants = {i: layout.name for i, layout in zip(places, choice.operand_layouts, strict=True)}
    dynamic = (i for i, v in enumerate(op.operands) if not v.is_constant)
    return tuple(wants.get(i, NONE) for i in dynamic), choice.result_layout.name


def _forms(one: _Timed) -> list[Form]:
    return list(one.forms)


class _Labelling(Labelling):
    """Variables and ties of layouts; conversions are noted (value, maker, variable, states), not tabled."""

    def __post_init__(self) -> None:
        self.read: list[tuple[int, int | None, int, Sequence[Available]]] = []
        super().__post_init__()

    def _wanted(self, reader: int, value: int) -> tuple[Available, ...]:
        return tuple(wish - {NONE} for wish in super()._wanted(reader, value))

    def _add_costs(self, value: int, maker: int | None, variable: int, states: Sequence[Available]) -> None:
        self.read.append((value, maker, variable, states))
