"""Bounds that every plan keeps, for where not all plans can be tried."""

from __future__ import annotations

from dataclasses import replace

from ..memory.arena import align
from .elimination import lower_bound
from .problem import Problem, Sharing, Step, Way
from .tables import Labelling


class Bounds:
    """Bounds on one problem; values that a view or a join may tie together are counted as one."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.kin = list(range(len(problem.bytes)))
        for step in problem.steps:
            if any(way.sharing is not Sharing.NONE for way in step.ways):
                self._tie(step)

    def _tie(self, step: Step) -> None:
        tied = {self.kin[v] for v in (*step.operands, *step.results)}
        self.kin = [min(tied) if k in tied else k for k in self.kin]

    def needed(self, step: Step, way: Way) -> int:
        """Bytes live while a step is computed one way: operands, workspace, and results of their own."""
        largest: dict[int, int] = {}
        for value, layout in zip(step.operands, way.wants, strict=True):
            kin, size = self.kin[value], self.problem.arena_bytes((value, layout))
            largest[kin] = max(size, largest.get(kin, 0))
        alone = way.sharing is Sharing.NONE and not way.in_place
        results = sum(self.problem.arena_bytes((v, way.makes)) for v in step.results) if alone else 0
        return sum(largest.values()) + results + align(way.workspace)

    @property
    def peak(self) -> int:
        """Bytes of arena that every plan needs."""
        steps = self.problem.steps
        return max((min(self.needed(step, way) for way in step.ways) for step in steps), default=0)

    def seconds(self, memory: int | None, largest_table: int) -> float:
        """Seconds that every plan within `memory` bytes takes: without the ways that cannot be among its."""
        if memory is None:
            return self._seconds(self.problem, largest_table)
        steps = [
            replace(s, ways=tuple(w for w in s.ways if self.needed(s, w) <= memory))
            for s in self.problem.steps
        ]
        if not all(step.ways for step in steps):
            return float("inf")
        return self._seconds(replace(self.problem, steps=tuple(steps)), largest_table)

    @staticmethod
    def _seconds(problem: Problem, largest_table: int) -> float:
        labelling = Labelling(problem)
        return lower_bound(labelling.sizes, labelling.tables, largest_table)
