"""Parallel convolutions made one: each rule as text before and after, and what each guard refuses."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.ir.graph import Graph
from secateur.ir.interpreter import run
from secateur.ir.rewrite import explain
from secateur.ir.verifier import verify
from secateur.passes.framework.validation import difference
from secateur.passes.fuse.fuse import Fuse
from secateur.passes.fuse.merging import RULES
from tests.passes.texts import Case, body, build, cases, inputs, structure

X = "tensor<1x4x5x5xf32>"
CASES = cases("fuse.merging")
REFUSALS = cases("fuse.merging-refusals")


def fused(case: Case, seed: int = 0) -> Graph:
    graph = Fuse(level="aggressive").run(build(body(X, case.before), seed))
    verify(graph)
    return graph


@pytest.mark.parametrize("case", CASES, ids=str)
def test_rule_rewrites_as_its_law_says_and_saves_work(case: Case) -> None:
    with explain(case.rule) as explanation:
        graph = fused(case)
    assert explanation.fired, explanation.report(graph)
    assert structure(graph) == structure(build(body(X, case.after)))
    before = build(body(X, case.before))
    assert len(graph.operators) < len(before.operators)
    assert sum(op.macs for op in graph.operators) <= sum(op.macs for op in before.operators)


@pytest.mark.parametrize("case", CASES, ids=str)
@settings(max_examples=6)
@given(seed=st.integers(0, 2**32 - 1))
def test_rule_keeps_the_answer(case: Case, seed: int) -> None:
    before = build(body(X, case.before), seed)
    given = inputs(before, seed)
    moved = difference("y", run(before, given)["y"], run(fused(case, seed), given)["y"]).moved
    assert moved <= 2e-5


def test_every_rule_has_a_case() -> None:
    assert {rule.name for rule in RULES} == {case.rule for case in CASES}


@pytest.mark.parametrize("case", REFUSALS, ids=str)
def test_guard_holds_back_and_says_why(case: Case) -> None:
    before = build(body(X, case.before))
    given = inputs(before)
    with explain(case.rule) as explanation:
        graph = fused(case)
    assert not explanation.fired
    assert any(re.search(case.after, r.reason) for r in explanation.refusals), explanation
    assert difference("y", run(before, given)["y"], run(graph, given)["y"]).moved <= 2e-5


def test_the_standard_level_merges_nothing() -> None:
    for case in CASES:
        with explain(case.rule) as explanation:
            Fuse().run(build(body(X, case.before)))
        assert not explanation.fired
