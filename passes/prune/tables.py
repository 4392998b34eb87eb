"""Time over counts, primitives and layouts as tables for `weighing.py`.

Variables: those of `domains.py`; for each operator its way, that is, a combination of layouts by the
fastest primitive that has it; for each value, or for several that the same operators read, the layouts
that it is had in (as in `select/tables.py`). An operator's table is over its way and the counts that its
extents depend on, a value's over its maker's way, the layouts wished, and its own counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.choice import Choice, CostTable
from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.types import ROW_MAJOR, Layout

from ..select.problem import Problem, Step, Way
from ..select.tables import Available, Labelling
from .domains import Domains
from .extents import Extents, Point
from .sizes import UnsizedError, at_shape

Floats = NDArray[np.float64]
Row = tuple[tuple[int, ...], Floats]
"""A table: its variables, and an axis for each."""

Form = tuple[tuple[str, ...], str]
"""The layouts of the operands computed at run time, and of the result."""


@dataclass(eq=False)
class _Timed:
    """An operator's seconds, by form, over the variables `counts`; infinite where there is no such way."""

    op: Operator
    counts: tuple[int, ...]
    forms: dict[Form, Floats]


@dataclass(eq=False)
class Times:
    """Tables of seconds over `sizes` of variables, the counts' variables first."""

    graph: Graph
    extents: Extents
    domains: Domains
    costs: CostTable
    sizes: list[int] = field(default_factory=list)
    tables: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.operators = [op for op in self.graph.operators if op.name != "nn.constant"]
        timed = [self._timed(op) for op in self.operators]
        self.layouts = self._layouts(timed)
        self.values = [v for v in self.graph.values() if not v.is_constant]
        self.of_value = {v: self.domains.of_value(v) for v in self.values}
        for one in timed:
            self._drop(one, self.layouts)
        labelling = _Labelling(self._nominal(timed))
        first = len(self.domains.states)
        self.sizes = [*map(len, self.domains.states), *labelling.sizes]
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
            for choice in self._choices(op, point):
                rows = forms.setdefault(_form(op, choice), np.full(shape, math.inf).reshape(-1))
                rows[at] = min(rows[at], choice.seconds)
        return _Timed(op, counts, {form: rows.reshape(shape) for form, rows in forms.items()})

    def _choices(self, op: Operator, point: Point) -> Sequence[Choice]:
        """None where the operator has no meaning at these counts."""
        try:
            return self.costs.choices(self.extents.operator(op, point))
        except UnsizedError:
            return ()

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
        return found

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
            for made in {makes for _, makes in one.forms}
        }
        for form in sorted(one.forms, key=lambda f: -float(np.min(one.forms[f]))):
            others = (f for f in one.forms if f != form)
            if any(self._beats(one, other, form, to, after) for other in others):
                del one.forms[form]

    @staticmethod
    def _beats(one: _Timed, form: Form, other: Form, to: dict[Any, Floats], after: dict[str, Any]) -> bool:
        """Whether `form` is at least as fast as `other` even if all that differs is converted."""
        (wants, makes), (others, made) = form, other
        total = one.forms[form].reshape(-1)
        for i, (layout, given) in enumerate(zip(wants, others, strict=True)):
            total = total + (to[i, layout] if layout != given else 0.0)
        total = total + (after[makes] if makes != made else 0.0)
        return bool((total <= one.forms[other].reshape(-1)).all())

    def _worst(self, value: Value, sources: set[str], wanted: set[str], points: Sequence[Point]) -> Floats:
        """Seconds to convert a value from the worst of some layouts to all of others, at each point."""
        types = [value.type if not self.extents.of(value) else self._type(value, p) for p in points]
        return np.array(
            [
                max(
                    sum(self.costs.conversion(t, Layout(a), Layout(b)) for b in wanted if b != a)
                    for a in sources
                )
                for t in types
            ]
        )

    def _type(self, value: Value, point: Point) -> Any:
        return at_shape(value, self.extents.shape(value, point)).type

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
        made = [ROW_MAJOR.name] if maker is None else [makes for _, makes in _forms(timed[maker])]
        counts = self.of_value[value]
        shape = (len(made), len(states), *self.domains.shape(counts))
        rows = np.zeros((len(made), len(states), math.prod(shape[2:])))
        if any(state - {layout} for state in states for layout in made):
            for at, point in enumerate(self.domains.points(counts)):
                type = self._type(value, point)
                for i, layout in enumerate(made):
                    for j, state in enumerate(states):
                        others = [other for other in state if other != layout]
                        known = self.layouts[value].issuperset(others)
                        seconds = (self.costs.conversion(type, Layout(layout), Layout(o)) for o in others)
                        rows[i, j, at] = sum(seconds) if known else math.inf
        if rows.any():
            variables = (first + (maker or 0), first + variable, *counts)
            table = rows.reshape(shape)
            self.tables.append((variables, table) if maker is not None else (variables[1:], table[0]))


def summed(extents: Extents, domains: Domains, of: Callable[[Operator], float]) -> Iterator[Row]:
    """Tables over counts of what `of` gives for each operator, such as multiply-accumulates."""
    for op in extents.graph.operators:
        if op.name != "nn.constant":
            counts = domains.of_operator(op)
            rows = np.array([_given(extents, op, point, of) for point in domains.points(counts)])
            yield counts, rows.reshape(domains.shape(counts))


def _given(extents: Extents, op: Operator, point: Point, of: Callable[[Operator], float]) -> float:
    try:
        return float(of(extents.operator(op, point)))
    except UnsizedError:
        return math.inf


def _dynamic(op: Operator) -> list[Value]:
    return [v for v in op.operands if not v.is_constant]


def _form(op: Operator, choice: Choice) -> Form:
    wants = zip(op.operands, choice.operand_layouts, strict=True)
    return tuple(layout.name for v, layout in wants if not v.is_constant), choice.result_layout.name


def _forms(one: _Timed) -> list[Form]:
    return list(one.forms)


class _Labelling(Labelling):
    """Variables and ties of layouts; conversions are noted (value, maker, variable, states), not tabled."""

    def __post_init__(self) -> None:
        self.read: list[tuple[int, int | None, int, Sequence[Available]]] = []
        super().__post_init__()

    def _add_costs(self, value: int, maker: int | None, variable: int, states: Sequence[Available]) -> None:
        self.read.append((value, maker, variable, states))
