"""Plans that look at one operator at a time: what selection is compared with.

Both go through the operators in schedule order and give each a way that fits
with what was chosen before; conversions follow from that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from .footprint import Event, costs, events, profile, seconds_of
from .problem import Plan, Problem, Tensor, Way


def greedy(problem: Problem, memory: int | None = None, family: str | None = None) -> Plan | None:
    """For each operator the fastest way, by its own time, of those that `fits` allows.

    Ways of the primitive `family` come before all others. None where no way of some operator fits.
    """
    plan: Plan = ()
    for step in problem.steps:
        ways = enumerate(step.ways)
        order = sorted(ways, key=lambda way: (way[1].name != family, way[1].seconds))
        longer = ((*plan, number) for number, _ in order)
        found = next((p for p in longer if fits(problem, p, memory)), None)
        if found is None:
            return None
        plan = found
    return plan


def single(problem: Problem, families: Iterable[str], memory: int | None = None) -> tuple[str, Plan] | None:
    """Of the primitives named the one that is best used wherever it fits, and the plan; None where none fits.

    Elsewhere the plan has the fastest way that fits.
    """
    tried = ((family, greedy(problem, memory, family)) for family in families)
    plans = [(family, plan) for family, plan in tried if plan is not None]
    return min(plans, key=lambda pair: costs(problem, pair[1]).seconds, default=None)


def fits(problem: Problem, beginning: Plan, memory: int | None) -> bool:
    """Whether the first operators can be computed so in `memory` bytes.

    What later ones may read is kept, in every layout in which it is there and they may want it.
    """
    left = len(beginning) < len(problem.steps)
    steps = problem.steps[: len(beginning)]
    run = events(replace(problem, steps=steps, outputs=()) if left else problem, beginning)
    if any(seconds_of(problem, event) == float("inf") for event in run):
        return False
    if memory is None:
        return True
    kept = _read_later(problem, run, len(beginning) - 1) if left else ()
    return max(profile(problem, [*run, Event(Way("later", (), "", 0.0), kept, ())])) <= memory


def _read_later(problem: Problem, run: Iterable[Event], index: int) -> tuple[Tensor, ...]:
    """The tensors there after step number `index` that steps to come may read or convert."""
    made = dict.fromkeys(problem.inputs, problem.external)
    made.update(tensor for event in run if event.way is not None for tensor in event.makes)
    there = {*made.items(), *(tensor for event in run for tensor in event.makes)}
    wanted = {value: problem.wanted_after(value, index) for value in made}
    missing = {v for v, layouts in wanted.items() if any((v, layout) not in there for layout in layouts)}
    return tuple(t for t in there if t[1] in wanted[t[0]] or (t[0] in missing and made[t[0]] == t[1]))
