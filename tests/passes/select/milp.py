"""The selection problem as a mixed-integer linear program for HiGHS: written apart from the solver it checks.

Memory is counted for problems whose operators share no bytes and read no value twice. A way of a step
is a binary variable; all others are at least what the chosen ways imply, and cost or fill memory, so they
are whole by themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from secateur.passes.memory.arena import align
from secateur.passes.select.problem import Problem

ONE = -1  # the constant's key in an expression
Expression = dict[int, float]


def plus(*terms: Mapping[int, float]) -> Expression:
    total: Expression = {}
    for term in terms:
        for variable, factor in term.items():
            total[variable] = total.get(variable, 0.0) + factor
    return total


def times(factor: float, term: Mapping[int, float]) -> Expression:
    return {variable: factor * value for variable, value in term.items()}


@dataclass
class Program:
    """Variables between 0 and 1 with costs, and expressions that must not be negative."""

    costs: list[float] = field(default_factory=list)
    whole: list[int] = field(default_factory=list)
    rows: list[Expression] = field(default_factory=list)

    def variable(self, cost: float = 0.0, whole: bool = False) -> Expression:
        self.costs.append(cost)
        self.whole.append(int(whole))
        return {len(self.costs) - 1: 1.0}

    def at_least(self, big: Expression, *small: Expression) -> None:
        self.rows.extend(plus(big, times(-1, term)) for term in small)

    def solve(self, seconds: float = 600.0) -> float | None:
        """The least cost, None where nothing is feasible."""
        number = np.repeat(np.arange(len(self.rows)), [len(row) for row in self.rows])
        keys = np.array([k for row in self.rows for k in row])
        values = np.array([v for row in self.rows for v in row.values()])
        fixed = np.bincount(number, values * (keys == ONE), len(self.rows))
        free = keys != ONE
        shape = (len(self.rows), len(self.costs))
        matrix = csr_array((values[free], (number[free], keys[free])), shape=shape)
        limits = LinearConstraint(matrix, -fixed, np.inf)
        options = {"mip_rel_gap": 0.0, "time_limit": seconds}
        found = milp(
            self.costs, integrality=self.whole, bounds=Bounds(0, 1), constraints=limits, options=options
        )
        if found.status not in (0, 2):
            raise TimeoutError(found.message)
        return None if found.x is None else float(found.fun)


class Selection(Program):
    """The program of a problem; `limit` on the arena's bytes."""

    def __init__(self, problem: Problem, limit: int | None = None) -> None:
        super().__init__()
        self.problem = problem
        self.steps = (*problem.steps, problem.closing)
        self.ways = [[self.variable(w.seconds, whole=True) for w in step.ways] for step in self.steps]
        for ways in self.ways:
            one: Expression = {ONE: 1.0}
            self.at_least(plus(*ways), one)
            self.at_least(one, plus(*ways))
        self.layouts = [tuple(sizes) for sizes in problem.bytes]
        self.readers: list[list[int]] = [[] for _ in problem.bytes]
        for i, step in enumerate(self.steps):
            for value in dict.fromkeys(step.operands):
                self.readers[value].append(i)
        self.maker = {v: i for i, step in enumerate(problem.steps) for v in step.results}
        self._convert()
        if limit is not None:
            self._limit(limit)

    def made(self, value: int, layout: str) -> Expression:
        """1 where a value is made in a layout."""
        if value not in self.maker:
            return {ONE: float(layout == self.problem.external)}
        step = self.maker[value]
        ways = zip(self.steps[step].ways, self.ways[step], strict=True)
        return plus(*(x for way, x in ways if way.makes == layout))

    def wanted(self, value: int, layout: str, reader: int) -> Expression:
        """1 where a step reads a value in a layout."""
        operands = self.steps[reader].operands
        ways = zip(self.steps[reader].ways, self.ways[reader], strict=True)
        return plus(*(x for w, x in ways if (value, layout) in zip(operands, w.wants, strict=True)))

    def _pairs(self, value: int) -> Iterable[tuple[str, str]]:
        return ((a, b) for a in self.layouts[value] for b in self.layouts[value] if a != b)

    def _convert(self) -> None:
        """A value made in one layout and wanted in another is converted, once."""
        for value in range(len(self.layouts)):
            for a, b in self._pairs(value):
                cost = self.problem.conversions.get((value, a, b))
                converted = {ONE: 0.0} if cost is None else self.variable(cost)
                for reader in self.readers[value]:
                    self.at_least(
                        converted, plus(self.made(value, a), self.wanted(value, b, reader), {ONE: -1.0})
                    )

    # Memory

    def _limit(self, limit: int) -> None:
        self.alive: dict[tuple[int, str, int], Expression] = {}
        self.here: dict[tuple[int, str, int], Expression] = {}
        self.converts: dict[tuple[int, str, str, int], Expression] = {}
        for value in range(len(self.layouts)):
            self._follow(value)
        for number in range(len(self.steps)):
            self._limit_step(number, limit)

    def _follow(self, value: int) -> None:
        """Which tensors of a value are there while and after each of its readers runs."""
        readers = self.readers[value]
        for i, reader in enumerate(readers):
            for a, b in self._pairs(value):
                before = (self.wanted(value, b, r) for r in readers[:i])
                new = plus(
                    self.made(value, a), self.wanted(value, b, reader), {ONE: -1.0}, times(-1, plus(*before))
                )
                self.converts[value, a, b, reader] = self.variable()
                self.at_least(self.converts[value, a, b, reader], new, {ONE: 0.0})
        for layout in self.layouts[value]:
            for i in range(-1, len(readers)):
                after = self.variable()
                self.alive[value, layout, i] = after
                sources = [
                    self.made(value, layout),
                    *(self.wanted(value, layout, r) for r in readers[: i + 1]),
                ]
                for there in sources:
                    for later in readers[i + 1 :]:
                        for read in self._reads(value, layout, later):
                            self.at_least(after, plus(there, read, {ONE: -1.0}))
                if i >= 0:
                    self.here[value, layout, i] = self.variable()
                    self.at_least(self.here[value, layout, i], self.wanted(value, layout, readers[i]), after)

    def _reads(self, value: int, layout: str, reader: int) -> list[Expression]:
        from_here = [self.converts[value, layout, b, reader] for b in self.layouts[value] if b != layout]
        return [self.wanted(value, layout, reader), *from_here]

    def _bytes(self, value: int, layout: str, there: Expression) -> Expression:
        return times(float(self.problem.arena_bytes((value, layout))), there)

    def _limit_step(self, number: int, limit: int) -> None:
        step = self.steps[number]
        idle = [self._idle(v, number) for v in range(len(self.layouts)) if v not in step.operands]
        after = {v: self._present(self.here, v, self.readers[v].index(number)) for v in step.operands}
        results = [self._bytes(v, x, self.made(v, x)) for v in step.results for x in self.layouts[v]]
        work = [
            times(float(align(w.workspace)), x) for w, x in zip(step.ways, self.ways[number], strict=True)
        ]
        most: Expression = {ONE: float(limit)}
        if step is not self.problem.closing:
            self.at_least(most, plus(*idle, *after.values(), *results, *work))
        for position, value in enumerate(step.operands):
            now = [self._before(v, number) for v in step.operands[position:]]
            full = plus(*idle, *(after[v] for v in step.operands[:position]), *now)
            for a, b in self._pairs(value):
                there = plus(full, self._bytes(value, b, {ONE: 1.0}))
                huge = 10.0 * sum(max(sizes.values()) for sizes in self.problem.bytes)
                on = plus({ONE: huge}, times(-huge, self.converts[value, a, b, number]))
                self.at_least(plus(most, on), there)

    def _idle(self, value: int, number: int) -> Expression:
        """Bytes of a value that the step does not read."""
        if self.maker.get(value, -1) >= number:
            return {}
        return self._present(self.alive, value, sum(r < number for r in self.readers[value]) - 1)

    def _before(self, value: int, number: int) -> Expression:
        return self._present(self.alive, value, self.readers[value].index(number) - 1)

    def _present(self, table: Mapping[tuple[int, str, int], Expression], value: int, i: int) -> Expression:
        return plus(*(self._bytes(value, x, table[value, x, i]) for x in self.layouts[value]))


def least_seconds(problem: Problem, limit: int | None = None) -> float | None:
    """The least time of a plan whose arena peak is at most `limit` bytes, None where there is none."""
    return Selection(problem, limit).solve()
