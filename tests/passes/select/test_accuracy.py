"""Limits on accuracy: sums of error powers, and forbidden choices."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from secateur.ir.choice import Choice
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Operator
from secateur.ir.parser import parse_graph
from secateur.passes.framework.pipeline import format_pass, parse_pipeline
from secateur.passes.select.footprint import costs as costs_of
from secateur.passes.select.forbidden import allowed
from secateur.passes.select.problem import Costs
from secateur.passes.select.select import Select, decided, error_power, problem_within
from secateur.passes.select.tolls import NOISE, WEIGHTS, Limit

from .test_select import BLOCKED, CHAIN, Table, arena, primitives

NOISES = {"first": 1e-12, "second": 2e-12, "third": 3e-12, "last": 4e-12}
MERGED = CHAIN.replace('loc("second")', 'loc("second,half+next")')


@dataclass
class Noisy(Table):
    """Blocked computation adds noise, another amount in each operator; any computation adds `floor`."""

    floor: float = 0.0

    def choices(self, op: Operator) -> tuple[Choice, ...]:
        noises = {"blocked": NOISES.get(op.loc, 2e-12)}
        found = super().choices(op)
        return tuple(replace(c, noise=noises.get(c.primitive, 0.0) + self.floor) for c in found)


TABLE = Noisy(1, 3, 0.1)


def chosen(table: Table = TABLE, text: str = CHAIN, **options: object) -> list[str]:
    return primitives(Select(costs=table, **options).run(parse_graph(text)))  # type: ignore[arg-type]


# The sum of error powers ---------------------------------------------------------------------------


def sqnr_of(noise: float) -> float:
    return -10 * math.log10(noise)


def test_without_a_limit_noise_does_not_matter() -> None:
    assert chosen() == ["blocked"] * 4


def test_noise_of_the_whole_network_is_a_sum_over_operators() -> None:
    assert chosen(sqnr=sqnr_of(10.01e-12)) == ["blocked"] * 4
    assert chosen(sqnr=sqnr_of(9.99e-12)).count("blocked") == 3


def test_no_noise_at_all() -> None:
    assert chosen(sqnr=math.inf) == ["plain"] * 4
    assert chosen(sqnr=1e6) == ["plain"] * 4


def every_plan() -> Iterator[tuple[list[str], Costs]]:
    graph = parse_graph(CHAIN)
    found = problem_within(graph, TABLE, Limit(NOISE, 1.0))
    for plan in itertools.product(range(2), repeat=4):
        selected = decided(graph, found.decisions(plan))
        yield primitives(selected), replace(costs_of(found.problem, plan), peak=arena(selected))


@pytest.mark.parametrize("noise", [0.0, 1e-12, 2.5e-12, 4e-12, 6e-12, 9.5e-12])
@pytest.mark.parametrize("memory", [None, 1600, 1100, 500])
def test_the_fastest_within_memory_and_noise_is_that_of_brute_force(noise: float, memory: int | None) -> None:
    plans = list(every_plan())
    fit = [c for _, c in plans if c.toll <= noise * 1.0001 and c.peak <= (memory or math.inf)]
    if not fit:
        with pytest.raises(SecateurError, match=r"the least possible is|the smallest arena found"):
            chosen(memory=memory, sqnr=sqnr_of(noise) if noise else math.inf)
        return
    names = chosen(memory=memory, sqnr=sqnr_of(noise * 1.0001) if noise else math.inf)
    assert min(c.seconds for n, c in plans if n == names) == pytest.approx(min(c.seconds for c in fit))
    assert [c for n, c in plans if n == names and c in fit]


@pytest.mark.parametrize("seconds", [4.3, 7.0, 9.0, 1000.0])
def test_the_smallest_within_time_and_noise_is_that_of_brute_force(seconds: float) -> None:
    limit = 4.5e-12
    fit = [c for _, c in every_plan() if c.toll <= limit and c.seconds <= seconds]
    if not fit:
        with pytest.raises(SecateurError, match=rf"nothing fits in {seconds:g}s; the least possible is \d"):
            chosen(seconds=seconds, sqnr=sqnr_of(limit))
        return
    selected = Select(costs=TABLE, seconds=seconds, sqnr=sqnr_of(limit)).run(parse_graph(CHAIN))
    assert arena(selected) == min(c.peak for c in fit)


def test_an_sqnr_that_no_plan_keeps_names_the_nearest_that_one_keeps() -> None:
    table = Noisy(1, 3, 0.1, floor=1e-11)
    expected = r"nothing fits in a noise of 1e-12 \(120 dB\); the least possible is 4e-11 \(103\.97 dB\)$"
    with pytest.raises(SecateurError, match=expected):
        chosen(table, sqnr=120.0)
    assert chosen(table, sqnr=103.97) == ["plain"] * 4
    with pytest.raises(SecateurError, match="the least possible"):
        chosen(table, sqnr=103.98)


def test_decibels_are_of_power() -> None:
    assert error_power(110) == pytest.approx(1e-11)
    assert error_power(math.inf) == 0
    assert error_power(1e4) == 0


# Bytes of weights ----------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [400, 649, 650, 899, 900, 1149, 1400, 9999])
@pytest.mark.parametrize("memory", [None, 1600])
def test_the_fastest_within_memory_and_weights_is_that_of_brute_force(
    weights: int, memory: int | None
) -> None:
    graph, found = parse_graph(CHAIN), problem_within(parse_graph(CHAIN), TABLE, Limit(WEIGHTS, weights))
    plans = [tuple(plan) for plan in itertools.product(range(2), repeat=4)]
    fit = [
        costs_of(found.problem, plan).seconds
        for plan in plans
        if 400 + 250 * sum(plan) <= weights and costs_of(found.problem, plan).peak <= (memory or math.inf)
    ]
    selected = Select(costs=TABLE, weights=weights, memory=memory).run(graph)
    number = tuple(int(name == "blocked") for name in primitives(selected))
    assert costs_of(found.problem, number).seconds == pytest.approx(min(fit))
    assert 400 + 250 * sum(number) <= weights


def test_weights_that_no_plan_keeps_name_the_least() -> None:
    with pytest.raises(
        SecateurError, match="nothing fits in 399 bytes of weights; the least possible is 400"
    ):
        chosen(weights=399)


def test_noise_and_weights_are_not_weighed_at_once() -> None:
    with pytest.raises(SecateurError, match="sqnr and weights cannot both have a limit"):
        chosen(weights=1000, sqnr=100.0)


# Forbidden choices ---------------------------------------------------------------------------------


def test_a_primitive_is_forbidden_everywhere() -> None:
    assert chosen(without="blocked") == ["plain"] * 4


@pytest.mark.parametrize(
    ("node", "number"),
    [
        ("first", 0),
        ("third", 2),
        ("second,half", 1),
        ("next", 1),
        ("second,half+next", 1),
        ("second,half (+1)", 1),
    ],
)
def test_a_primitive_is_forbidden_at_one_node(node: str, number: int) -> None:
    """A node has the name of any of those it was fused from; names may hold commas."""
    found = chosen(text=MERGED, without=f"blocked@{node}")
    assert [i for i, name in enumerate(found) if name == "plain"] == [number]


@pytest.mark.parametrize(
    "text", ["blocked@first\nblocked@last", "blocked@first,blocked@last", "blocked@first, blocked@last,"]
)
def test_several_are_forbidden_together(text: str) -> None:
    assert chosen(without=text) == ["plain", "blocked", "blocked", "plain"]


def test_forbidden_choices_and_noise_add_up() -> None:
    found = chosen(without="blocked@first", sqnr=sqnr_of(3.5e-12))
    assert found[0] == "plain"
    assert found in (["plain", "blocked", "plain", "plain"], ["plain", "plain", "blocked", "plain"])


def test_what_is_left_of_the_costs_is_as_before() -> None:
    graph = parse_graph(CHAIN)
    first, *others = graph.operators
    table = allowed(graph, TABLE, ["blocked@first"])
    assert [c.primitive for c in table.choices(first)] == ["plain"]
    assert all(table.choices(op) == TABLE.choices(op) for op in others)
    assert table.conversion(first.result.type, BLOCKED, first.result.type.layout) == 0.1
    assert allowed(graph, TABLE, [""]) is TABLE


@pytest.mark.parametrize(
    ("without", "message"),
    [
        (
            "bloked",
            r"that no operator has \(known here: plain, blocked\): 'bloked'; did you mean 'blocked'\?",
        ),
        ("blocked@frist", r"cannot forbid blocked: there is no operator 'frist'; did you mean 'first'\?"),
        ("blocked@", "cannot forbid blocked: there is no operator ''"),
        ("winograd4@last", r"the operator of last never has \(known here: plain, blocked\): 'winograd4'"),
        ("first", r"no operator has \(.*\): 'first'"),
        (
            "plain@third,blocked@third",
            r"nn\.relu \(ONNX node third\): without plain, blocked no primitive is left",
        ),
        (
            "plain\nblocked@last",
            r"nn\.add \(ONNX node last\): without plain, blocked no primitive is left; it could",
        ),
    ],
)
def test_what_cannot_be_forbidden_is_refused(without: str, message: str) -> None:
    with pytest.raises(SecateurError, match=message):
        chosen(without=without)


# Text ----------------------------------------------------------------------------------------------


def test_the_pass_takes_its_limits_from_text() -> None:
    text = 'select{sqnr=110.0,without="winograd6\\nwinograd4@/conv1/Conv"}'
    (step,) = parse_pipeline(text)
    assert step == Select(sqnr=110.0, without="winograd6\nwinograd4@/conv1/Conv")
    assert format_pass(step) == text
    assert parse_pipeline("select{without=winograd6,sqnr=110}") == (Select(sqnr=110.0, without="winograd6"),)


@pytest.mark.parametrize("sqnr", [-1.0, math.nan])
def test_an_sqnr_that_is_no_number_from_0_on_is_refused(sqnr: float) -> None:
    with pytest.raises(SecateurError, match=rf"pass select: sqnr must not be negative, is {sqnr}"):
        chosen(sqnr=sqnr)
