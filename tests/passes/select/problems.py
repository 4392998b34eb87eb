"""Random selection problems, small enough to try every plan."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Iterator

from secateur.passes.select.footprint import costs
from secateur.passes.select.problem import Costs, Plan, Problem, Sharing, Step, Way

LAYOUTS = ("NCHW", "NCHW8c", "NHWC")


def random_problem(choose: random.Random, operators: int, layouts: int = 2, ways: int = 3) -> Problem:
    """Operators of one to three operands among recent values, joins and views among them."""
    known = LAYOUTS[:layouts]
    steps: list[Step] = []
    sizes = [_sizes(choose, known)]
    for _ in range(operators):
        recent = range(max(0, len(sizes) - 4), len(sizes))
        count = min(len(recent), choose.choice([1, 1, 2, 2, 3]))
        operands = tuple(choose.sample(recent, count))
        if choose.random() < 0.1:
            operands = (operands[0], operands[0])
        kind = choose.choice(["plain", "plain", "element", "join", "view"])
        result = _result_sizes(choose, kind, known, [sizes[v] for v in operands])
        results: tuple[int, ...] = (len(sizes),)
        sizes.append(result)
        if kind == "plain" and choose.random() < 0.15:
            results = (*results, len(sizes))
            sizes.append(_sizes(choose, known))
        options = choose.randint(1, ways)
        steps.append(
            Step(operands, results, tuple(_way(choose, kind, known, operands) for _ in range(options)))
        )
    read = {v for step in steps for v in step.operands}
    outputs = [v for v in range(1, len(sizes)) if v not in read and choose.random() < 0.8]
    outputs += [v for v in read - {0} if choose.random() < 0.1]
    conversions = {
        (v, a, b): float(choose.randint(0, 6))
        for v in range(len(sizes))
        for a, b in itertools.permutations(known, 2)
        if choose.random() < 0.95
    }
    return Problem(tuple(steps), tuple(sizes), conversions, (0,), tuple(outputs))


def _sizes(choose: random.Random, known: tuple[str, ...]) -> dict[str, int]:
    size = 32 * choose.randint(1, 8)
    return {layout: size + choose.choice([0, 0, 64]) for layout in known}


def _result_sizes(
    choose: random.Random, kind: str, known: tuple[str, ...], operands: list[dict[str, int]]
) -> dict[str, int]:
    if kind == "join":
        return {layout: sum(size[layout] for size in operands) for layout in known}
    return dict(operands[0]) if kind in ("view", "element") else _sizes(choose, known)


def _way(choose: random.Random, kind: str, known: tuple[str, ...], operands: tuple[int, ...]) -> Way:
    makes = choose.choice(known)
    wants = tuple(makes if kind != "plain" else choose.choice(known) for _ in operands)
    sharing = {"join": Sharing.JOIN, "view": Sharing.VIEW}.get(kind, Sharing.NONE)
    if sharing is Sharing.JOIN and len(set(operands)) < len(operands):
        sharing = Sharing.NONE
    in_place = tuple(i for i in range(len(operands)) if kind == "element" and choose.random() < 0.8)
    if any(operands[i] != operands[0] for i in in_place):
        in_place = tuple(i for i in in_place if operands[i] == operands[0])
    workspace = choose.choice([0, 0, 64, 200, 448])
    return Way(
        "way", wants, makes, float(choose.randint(1, 9)), workspace, choose.randint(0, 5), in_place, sharing
    )


def every_plan(problem: Problem) -> Iterator[tuple[Plan, Costs]]:
    """All plans that are possible, with their costs by definition."""
    for plan in itertools.product(*(range(len(step.ways)) for step in problem.steps)):
        found = costs(problem, plan)
        if found.seconds < float("inf"):
            yield plan, found


def small_problem(seed: int) -> Problem:
    """A problem of one to eight operators with at most some hundreds of plans."""
    choose = random.Random(seed)
    operators = choose.randint(1, 8)
    return random_problem(choose, operators, choose.choice([2, 2, 3]), ways=2 if operators > 5 else 3)


def best_points(plans: list[tuple[Plan, Costs]]) -> list[tuple[int, float]]:
    """(peak, seconds) of the plans that none beats in one without losing in the other, by rising peak."""
    points: list[tuple[int, float]] = []
    for peak, seconds in sorted((c.peak, c.seconds) for _, c in plans):
        if not points or seconds < points[-1][1]:
            points.append((peak, seconds))
    return points


def fan_out(copies: int, workspace: int = 0) -> Problem:
    """One value read by everyone, each in either layout, and all results added up at the end."""
    both = (Way("a", ("NCHW",), "NCHW", 1.0, workspace), Way("b", ("NCHW8c",), "NCHW8c", 1.0))
    steps = [Step((0,), (i,), both) for i in range(1, copies + 1)]
    total = Step(tuple(range(1, copies + 1)), (copies + 1,), (Way("sum", ("NCHW",) * copies, "NCHW", 1.0),))
    sizes = {"NCHW": 64, "NCHW8c": 64}
    between = {
        (v, *pair): 1.0 for v in range(copies + 2) for pair in (("NCHW", "NCHW8c"), ("NCHW8c", "NCHW"))
    }
    return Problem((*steps, total), (sizes,) * (copies + 2), between, (0,), (copies + 1,))


def unshared(problem: Problem) -> Problem:
    """The same operators, each with bytes of its own for its results."""
    steps = (
        dataclasses.replace(
            step,
            ways=tuple(dataclasses.replace(w, in_place=(), sharing=Sharing.NONE) for w in step.ways),
        )
        for step in problem.steps
    )
    return dataclasses.replace(problem, steps=tuple(steps))
