"""Fusion: each rule as text before and after, checked on the interpreter; and what each guard refuses."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.ir.errors import SecateurError
from secateur.ir.interpreter import run
from secateur.ir.rewrite import explain
from secateur.ir.verifier import verify
from secateur.passes.framework.validation import difference
from secateur.passes.fuse.fuse import RULES, Fuse
from tests.passes.texts import Case, body, build, cases, inputs, names, structure

X = "tensor<1x4x5x5xf32>"
CASES = cases("fuse.rules")
REFUSALS = cases("fuse.refusals")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_rule_rewrites_as_its_law_says(case: Case) -> None:
    graph = build(body(X, case.before))
    with explain(case.rule) as explanation:
        graph = Fuse().run(graph)
    verify(graph)
    assert explanation.fired, explanation.report(graph)
    assert structure(graph) == structure(build(body(X, case.after)))


@pytest.mark.parametrize("case", CASES, ids=str)
@settings(max_examples=6)
@given(seed=st.integers(0, 2**32 - 1))
def test_rule_keeps_the_answer(case: Case, seed: int) -> None:
    text = body(X, case.before)
    given = inputs(build(text, seed), seed)
    want, got = run(build(text, seed), given)["y"], run(Fuse().run(build(text, seed)), given)["y"]
    assert difference("y", want, got).moved <= 2e-5


@pytest.mark.parametrize("case", CASES, ids=str)
@settings(max_examples=3)
@given(seed=st.integers(0, 2**32 - 1))
def test_conservative_fusion_moves_no_bit(case: Case, seed: int) -> None:
    text = body(X, case.before)
    given = inputs(build(text, seed), seed)
    got = run(Fuse(level="conservative").run(build(text, seed)), given)["y"]
    np.testing.assert_array_equal(got, run(build(text, seed), given)["y"])


def test_every_rule_has_a_case() -> None:
    assert {rule.name for rule in RULES} == {case.rule for case in CASES}


@pytest.mark.parametrize("case", REFUSALS, ids=str)
def test_guard_holds_back_and_says_why(case: Case) -> None:
    text = body(X, case.before)
    given = inputs(build(text))
    with explain(case.rule) as explanation:
        graph = Fuse().run(build(text))
    assert any(re.search(case.after, r.reason) for r in explanation.refusals), explanation
    want = run(build(text), given)
    assert all(difference(n, want[n], array).moved <= 2e-5 for n, array in run(graph, given).items())


def test_integers_are_left_alone() -> None:
    graph = build("""graph @g(%x: tensor<4xi64>) {
      %a = nn.neg(%x) : tensor<4xi64>
      %y = nn.add(%a, %x) : tensor<4xi64>
      return %y as "y" }""")
    assert names(Fuse().run(graph)) == ["nn.neg", "nn.add"]


def test_conservative_level_leaves_weights_as_they_are() -> None:
    graph = Fuse(level="conservative").run(build(body(X, CASES[0].before)))
    assert names(graph) == ["nn.conv", "nn.batch_norm"]


def test_level_none_leaves_operators_as_they_are() -> None:
    before = build(body(X, CASES[0].before))
    fuse = Fuse(level="none")
    assert structure(fuse.run(before.clone())) == structure(before)
    assert fuse.tolerance == 0.0


def test_unknown_level_names_the_known_ones() -> None:
    with pytest.raises(SecateurError, match="unknown level 'wild'; known: none, conservative, standard"):
        Fuse(level="wild")


CONV = f"""
  %w = const : tensor<4x4x3x3xf32>
  %k = nn.conv(%x, %w) {{SAME}} : {X} loc("c")"""


def test_weights_that_keep_their_values_are_not_copied() -> None:
    graph = build(body(X, f"""{CONV}
      %s = const : tensor<4x1x1xf32>
      %y = nn.add(%k, %s) : {X} return %y as "y" """))  # fmt: skip
    (weights,) = [op["value"] for op in graph.operators if op.results[0].type.rank == 4 and not op.operands]
    assert any(op.get("value") is weights for op in Fuse().run(graph).operators)


def test_origins_of_all_fused_operators_are_kept() -> None:
    graph = build(body(X, f"""{CONV}
      %a = nn.relu(%k) : {X} loc("r")
      %y = nn.mul(%a, %z) : {X} loc("m") return %y as "y" """))  # fmt: skip
    assert [op.loc for op in Fuse().run(graph).operators if op.name == "nn.conv"] == ["c+r+m"]
