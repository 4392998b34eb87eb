"""Every course that selection can take, as layers of states joined by edges.

A layer holds the distinct states between two steps, an edge a way of the step
from one state to another with its seconds, the bytes of arena it needs and its
toll. This is dynamic programming over a path decomposition of the network, the
one that its schedule gives: what is live together must be seen together, since
a limit on memory forbids combinations of it. The trellis knows no objective;
each is a sweep over it (`sweeps.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .footprint import events, profile, seconds_of
from .problem import Plan, Problem

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


class NoCourseError(ValueError):
    """Nothing meets the limits."""


class CutShortError(ValueError):
    """None of the states that were followed goes on; says why not all were."""


@dataclass(frozen=True, eq=False)
class Layer:
    """A step's edges, sorted by the state they lead to; `starts` is where those of each state begin.

    All arrays but `starts` have one entry an edge; `need` is in bytes.
    """

    source: Ints
    target: Ints
    starts: Ints
    way: Ints
    seconds: Floats
    need: Ints
    toll: Floats

    @property
    def states(self) -> int:
        """How many states the edges lead to."""
        return len(self.starts)


def layer_of(source: Ints, target: Ints, way: Ints, seconds: Floats, need: Ints, toll: Floats) -> Layer:
    """A layer of edges in any order, whose targets are numbered without gaps."""
    order = np.argsort(target, kind="stable")
    source, target, way, need = (row[order] for row in (source, target, way, need))
    return Layer(source, target, _starts(target), way, seconds[order], need, toll[order])


def _starts(target: Ints) -> Ints:
    """Where the edges to each state begin, of edges sorted by the state they lead to."""
    return np.flatnonzero(np.diff(target, prepend=-1))


@dataclass(frozen=True, eq=False)
class Trellis:
    """One layer a step, the reading of outputs included; every edge lies on a course from start to end.

    `left_out` says what was not looked at; empty where every plan is a course.
    """

    layers: tuple[Layer, ...]
    left_out: str = ""

    @property
    def edges(self) -> int:
        return sum(len(layer.source) for layer in self.layers)

    @property
    def widest(self) -> int:
        """The most states of a layer."""
        return max((layer.states for layer in self.layers), default=1)


def ranges(starts: Ints, counts: Ints) -> Ints:
    """start, start + 1, ... of each start, `count` of them."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + counts, counts)


def along(problem: Problem, plan: Plan, left_out: str = "") -> Trellis:
    """The trellis of one plan alone."""
    run = events(problem, plan)
    needed, spent = profile(problem, run), [seconds_of(problem, event) for event in run]
    ends = [i + 1 for i, event in enumerate(run) if event.way is not None]
    ways = [event.way for event in run if event.way is not None]
    zero = np.zeros(1, np.int64)
    layers = tuple(
        Layer(
            zero,
            zero,
            zero,
            np.array([number]),
            np.array([sum(spent[first:end])]),
            np.array([max(needed[first:end])]),
            np.array([way.toll]),
        )
        for first, end, way, number in zip([0, *ends[:-1]], ends, ways, [*plan, 0], strict=True)
    )
    return Trellis(layers, left_out)


def restricted(trellis: Trellis, edges: Sequence[Mask]) -> Trellis:
    """The courses that use only some of the edges, the states on them numbered anew.

    Raises NoCourseError where there is none.
    """
    layers = trellis.layers
    edges = _connected(layers, edges)
    if not edges[-1].any():
        raise NoCourseError("no course is left")
    left: list[Layer] = []
    before = np.zeros(1, np.int64)
    for layer, chosen in zip(layers, edges, strict=True):
        used = np.zeros(layer.states, np.bool_)
        used[layer.target[chosen]] = True
        after = np.cumsum(used) - 1
        rest = (getattr(layer, name)[chosen] for name in ("way", "seconds", "need", "toll"))
        target = after[layer.target[chosen]]
        left.append(Layer(before[layer.source[chosen]], target, _starts(target), *rest))
        before = after
    return replace(trellis, layers=tuple(left))


def _connected(layers: Sequence[Layer], edges: Sequence[Mask]) -> list[Mask]:
    """Those of the edges that lie on a course from start to end over such edges."""
    reached, forward = np.ones(1, np.bool_), []
    for layer, chosen in zip(layers, edges, strict=True):
        forward.append(chosen & reached[layer.source])
        reached = _touched(layer.target[forward[-1]], layer.states)
    both = []
    for layer, chosen, before in zip(
        reversed(layers), reversed(forward), [*(x.states for x in reversed(layers[:-1])), 1], strict=True
    ):
        both.append(chosen & reached[layer.target])
        reached = _touched(layer.source[both[-1]], before)
    return both[::-1]


def _touched(states: Ints, count: int) -> Mask:
    touched = np.zeros(count, np.bool_)
    touched[states] = True
    return touched
