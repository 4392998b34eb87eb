"""Canonicalization: each rule as text before and after, checked on the interpreter; refusals; folding."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.ir.rewrite import explain
from secateur.ir.verifier import verify
from secateur.passes.canonicalize.canonicalize import RULES, Canonicalize
from tests.passes.texts import Case, answers, body, build, cases, names, structure

T = "tensor<1x2x3x3xf32>"

CASES = cases("canonicalize.rules")
REFUSALS = cases("canonicalize.refusals")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_rule_rewrites_as_its_law_says(case: Case) -> None:
    graph = build(body(T, case.before))
    with explain(case.rule) as explanation:
        graph = Canonicalize().run(graph)
    verify(graph)
    assert explanation.fired
    assert structure(graph) == structure(build(body(T, case.after)))


@pytest.mark.parametrize("case", CASES, ids=str)
@settings(max_examples=8)
@given(seed=st.integers(0, 2**32 - 1))
def test_rule_keeps_the_answer_to_the_bit(case: Case, seed: int) -> None:
    text = body(T, case.before)
    before = answers(build(text, seed), seed)["y"]
    after = answers(Canonicalize().run(build(text, seed)), seed)["y"]
    np.testing.assert_array_equal(after, before)


def test_every_rule_has_a_case() -> None:
    assert {rule.name for rule in RULES} == {case.rule for case in CASES}


@pytest.mark.parametrize("case", REFUSALS, ids=str)
def test_guard_holds_back_and_says_why(case: Case) -> None:
    with explain(case.rule) as explanation:
        Canonicalize().run(build(body(T, case.before)))
    assert not explanation.fired
    assert any(re.search(case.after, r.reason) for r in explanation.refusals), explanation


def test_constants_fold_through_the_interpreter() -> None:
    graph = build(f"""graph @g(%x: {T}) {{
      %a = const : tensor<3xf32>
      %b = nn.exp(%a) : tensor<3xf32>
      %c = nn.add(%b, %a) : tensor<3xf32>
      %y = nn.mul(%x, %c) : {T}
      return %y as "y" }}""")
    before = answers(graph)["y"]
    folded = Canonicalize().run(graph)
    assert names(folded) == ["nn.mul"]
    np.testing.assert_array_equal(answers(folded)["y"], before)


def test_a_constant_output_is_folded_too() -> None:
    graph = build(body(T, '''
      %a = const : tensor<3xf32>
      %b = nn.exp(%a) : tensor<3xf32>
      return %b as "y" '''))  # fmt: skip
    assert names(Canonicalize().run(graph)) == []


def test_large_results_are_not_folded() -> None:
    text = f"""graph @g(%x: {T}) {{
      %a = const : tensor<1x1xf32>
      %b = nn.expand(%a) {{shape = [64, 64]}} : tensor<64x64xf32>
      return %b as "y" }}"""
    assert names(Canonicalize(fold=1024).run(build(text))) == ["nn.expand"]
    assert names(Canonicalize(fold=64 * 64 * 4).run(build(text))) == []


def test_large_results_no_larger_than_their_operands_are_folded() -> None:
    text = f"""graph @g(%x: {T}) {{
      %a = const : tensor<64x64xf32>
      %b = nn.transpose(%a) {{perm = [1, 0]}} : tensor<64x64xf32>
      return %b as "y" }}"""
    assert names(Canonicalize(fold=1024).run(build(text))) == []


def test_equal_operators_are_merged() -> None:
    graph = build(f"""graph @g(%x: {T}) {{
      %a = nn.clip(%x) {{min = 0.0, max = inf}} : {T}
      %b = nn.clip(%x) {{min = 0.0}} : {T}
      %c = nn.clip(%x) {{min = 0.5}} : {T}
      %d = nn.add(%a, %b) : {T}
      %y = nn.add(%d, %c) : {T}
      return %y as "y" }}""")
    before = answers(graph)["y"]
    merged = Canonicalize().run(graph)
    assert names(merged) == ["nn.relu", "nn.clip", "nn.add", "nn.add"]
    np.testing.assert_array_equal(answers(merged)["y"], before)


def test_constants_that_differ_in_one_element_are_not_merged() -> None:
    graph = build(f"""graph @g(%x: {T}) {{
      %a = nn.constant() {{value = dense<3xf32: [0.0, 1.0, 2.0]>}} : tensor<3xf32>
      %b = nn.constant() {{value = dense<3xf32: [0.0, 1.0, 2.0]>}} : tensor<3xf32>
      %c = nn.constant() {{value = dense<3xf32: [-0.0, 1.0, 2.0]>}} : tensor<3xf32>
      %d = nn.div(%x, %a) : {T}
      %e = nn.div(%x, %b) : {T}
      %f = nn.div(%x, %c) : {T}
      return %d as "d", %e as "e", %f as "f" }}""")
    merged = Canonicalize().run(graph)
    assert merged.outputs[0] is merged.outputs[1]
    assert merged.outputs[0] is not merged.outputs[2]


def test_equal_constants_of_different_names_may_stay_apart() -> None:
    text = f"""graph @g(%x: {T}) {{
      %a = nn.constant() {{value = dense<3xf32: [0.0, 1.0, 2.0]>}} : tensor<3xf32>
      %b = nn.constant() {{value = dense<3xf32: [0.0, 1.0, 2.0]>}} : tensor<3xf32>
      %c = nn.div(%x, %a) : {T}
      %d = nn.div(%x, %b) : {T}
      return %c as "c", %d as "d" }}"""
    assert names(Canonicalize().run(build(text))) == ["nn.div"]
    assert names(Canonicalize(share=False).run(build(text))) == ["nn.div", "nn.div"]


def test_dead_code_goes_and_inputs_stay() -> None:
    graph = build(body(T, f'%a = nn.relu(%z) : {T} %y = nn.abs(%x) : {T} return %y as "y"'))
    cleaned = Canonicalize().run(graph)
    assert names(cleaned) == ["nn.abs"]
    assert [v.name for v in cleaned.inputs] == ["x", "z"]


def test_canonicalizing_twice_changes_nothing() -> None:
    for case in CASES:
        once = Canonicalize().run(build(body(T, case.before)))
        assert structure(Canonicalize().run(once.clone())) == structure(once)
