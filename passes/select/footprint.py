"""What a plan costs, by walking along it: the definition that the solver's answers are held against."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..memory.arena import align
from .problem import Costs, Plan, Problem, Tensor, Way
from .sharing import Buffer, Buffers, live_bytes, with_own, with_results, without


class Event(NamedTuple):
    """An operator or, with `way` None, a conversion of the single tensor read to the single one made."""

    way: Way | None
    reads: tuple[Tensor, ...]
    makes: tuple[Tensor, ...]


def events(problem: Problem, plan: Plan) -> list[Event]:
    """The operators of a plan and the conversions right before their first users, in the order they run."""
    made = dict.fromkeys(problem.inputs, problem.external)
    tensors: set[Tensor] = {(v, problem.external) for v in problem.inputs}
    found: list[Event] = []
    ways = [step.ways[choice] for step, choice in zip(problem.steps, plan, strict=True)]
    for step, way in zip((*problem.steps, problem.closing), (*ways, problem.closing.ways[0]), strict=True):
        reads = tuple(zip(step.operands, way.wants, strict=True))
        for value, layout in reads:
            if (value, layout) not in tensors:
                found.append(Event(None, ((value, made[value]),), ((value, layout),)))
                tensors.add((value, layout))
        made.update(dict.fromkeys(step.results, way.makes))
        makes = tuple((v, way.makes) for v in step.results)
        tensors.update(makes)
        found.append(Event(way, reads, makes))
    return found


def costs(problem: Problem, plan: Plan) -> Costs:
    """Seconds, arena peak and toll of a plan; infinite seconds where a conversion is impossible."""
    run = events(problem, plan)
    seconds = sum(seconds_of(problem, event) for event in run)
    toll = sum(event.way.toll for event in run if event.way is not None)
    return Costs(seconds, max(profile(problem, run), default=0), toll)


def seconds_of(problem: Problem, event: Event) -> float:
    """Seconds of an event; infinite where it is a conversion that is impossible."""
    if event.way is not None:
        return event.way.seconds
    value, source = event.reads[0]
    return problem.conversions.get((value, source, event.makes[0][1]), float("inf"))


class _Arena:
    """The buffers along a walk, found by what they hold: a step looks only at those it has to do with."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.bytes = 0
        self.holder: dict[Tensor, Buffer] = {}

    def take(self, tensors: Iterable[Tensor]) -> Buffers:
        """The buffers of these tensors, which leave the arena."""
        taken = tuple({id(b): b for t in tensors if (b := self.holder.get(t)) is not None}.values())
        self.bytes -= live_bytes(self.problem, taken)
        for buffer in taken:
            for tensor, _ in buffer.members:
                del self.holder[tensor]
        return taken

    def put(self, buffers: Buffers) -> None:
        """Adds buffers, none of them empty."""
        self.bytes += live_bytes(self.problem, buffers)
        self.holder.update((tensor, buffer) for buffer in buffers for tensor, _ in buffer.members)


def profile(problem: Problem, run: Sequence[Event]) -> list[int]:
    """Bytes of arena needed at each event."""
    last = {t: i for i, event in enumerate(run) for t in (*event.makes, *event.reads)}
    arena = _Arena(problem)
    needed: list[int] = []
    for i, event in enumerate(run):
        dying = {t for t in (*event.reads, *event.makes) if last[t] == i}
        buffers = arena.take(event.reads)
        if event.way is None:
            buffers = with_own(problem, buffers, event.makes[0])
        else:
            buffers = with_results(problem, buffers, event.way, event.reads, event.makes, dying)
        workspace = align(event.way.workspace) if event.way is not None else 0
        needed.append(arena.bytes + live_bytes(problem, buffers) + workspace)
        arena.put(without(buffers, dying))
    return needed
