"""Sums opened and closed: each rule as text before and after, and what each guard refuses."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph
from secateur.ir.interpreter import run
from secateur.ir.ranges import indices_of, ranges_of
from secateur.ir.rewrite import explain, rewrite
from secateur.ir.verifier import verify
from secateur.passes.framework.pipeline import parse_pipeline
from secateur.passes.framework.validation import difference
from secateur.passes.fuse import closing, opening
from secateur.passes.fuse.closing import close_sums, is_open
from secateur.passes.fuse.fuse import Fuse
from secateur.passes.fuse.opening import Open, open_sums
from tests.passes.texts import Case, body, build, cases, inputs, structure

X = "tensor<1x4x5x5xf32>"
RULES = (*opening.RULES, *closing.RULES)
CASES = cases("fuse.sums")
REFUSALS = cases("fuse.sums-refusals")


def rewritten(case: Case, seed: int = 0) -> Graph:
    """The text before with the case's rule applied alone."""
    graph = build(body(X, case.before), seed)
    rewrite(graph, [rule for rule in RULES if rule.name == case.rule])
    graph.remove_dead()
    verify(graph)
    return graph


@pytest.mark.parametrize("case", CASES, ids=str)
def test_rule_rewrites_as_its_law_says(case: Case) -> None:
    assert structure(rewritten(case)) == structure(build(body(X, case.after)))


@pytest.mark.parametrize("case", CASES, ids=str)
@settings(max_examples=6)
@given(seed=st.integers(0, 2**32 - 1))
def test_rule_keeps_the_answer_and_closing_does(case: Case, seed: int) -> None:
    before = build(body(X, case.before), seed)
    given, closed = inputs(before, seed), before.clone()
    close_sums(closed)
    assert not is_open(closed)
    want = run(before, given)["y"]
    for graph in (rewritten(case, seed), closed):
        assert difference("y", want, run(graph, given)["y"]).moved <= 2e-5


def test_every_rule_has_a_case() -> None:
    assert {rule.name for rule in RULES} == {case.rule for case in CASES}


@pytest.mark.parametrize("case", REFUSALS, ids=str)
def test_guard_holds_back_and_says_why(case: Case) -> None:
    with explain(case.rule) as explanation:
        rewritten(case)
    assert not explanation.fired
    assert any(re.search(case.after, r.reason) for r in explanation.refusals), explanation


BLOCKS = f"""
  %w = const : tensor<4x4x3x3xf32>
  %v = const : tensor<4x4x3x3xf32>
  %g = nn.sigmoid(%x) : {X}
  %a = nn.conv(%g, %w) {{SAME}} : {X} loc("one/conv")
  %b = nn.add(%a, %x) : {X} loc("one/add")
  %h = nn.sigmoid(%b) : {X}
  %c = nn.conv(%h, %v) {{SAME}} : {X} loc("two/conv")
  %y = nn.add(%c, %b) : {X} loc("two/add")
  return %y as "y" """


@pytest.mark.parametrize(
    ("blocks", "opened"), [((), 2), (("one/add",), 1), (("t*",), 1), (("t*", "one/*"), 2)]
)
def test_blocks_are_chosen_by_name_or_pattern(blocks: tuple[str, ...], opened: int) -> None:
    graph = build(body(X, BLOCKS))
    assert open_sums(graph.clone(), blocks) == opened
    whole = Fuse(level="aggressive", blocks=blocks).run(graph.clone())
    assert structure(whole) == structure(Fuse().run(graph))


def test_a_block_that_does_not_exist_is_refused() -> None:
    with pytest.raises(SecateurError, match=r"no addition of the graph is called 'three'.*known: one/add"):
        Open(blocks=("one/*", "three")).run(build(body(X, BLOCKS)))


def test_blocks_are_for_the_level_that_opens_them() -> None:
    with pytest.raises(SecateurError, match="blocks are for level=aggressive"):
        Fuse(blocks=("one",))
    (step,) = parse_pipeline('fuse{level=aggressive,blocks="one*\\ntwo*"}')
    assert step == Fuse(level="aggressive", blocks=("one*", "two*"))


@pytest.mark.parametrize("level", ["none", "conservative", "standard", "aggressive"])
def test_every_level_closes_what_was_opened(level: str) -> None:
    graph = Open().run(build(body(X, BLOCKS)))
    fuse = Fuse(level=level)
    assert fuse.tolerance_on(graph) >= 1e-5
    assert not is_open(fuse.run(graph))


@given(st.lists(st.integers(0, 30)))
def test_ranges_hold_any_list(listed: list[int]) -> None:
    ranges = ranges_of(listed)
    assert indices_of(ranges) == tuple(listed)
    assert all(a != b for a, b in zip(ranges[1:-1:2], ranges[2::2], strict=True))


@settings(max_examples=60)
@given(st.data())
def test_any_sum_of_channels_is_closed_right(data: st.DataObject) -> None:
    """Whatever the operands cover, in whatever order, read by a convolution or returned."""
    channels = data.draw(st.integers(1, 7))
    covers = [data.draw(_some(channels)) for _ in range(data.draw(st.integers(1, 3)))]
    returned = data.draw(st.booleans())
    graph = build(_sum_of(covers, channels, returned), data.draw(st.integers(0, 100)))
    given = inputs(graph, 3)
    want = run(graph, given)["y"]
    for level in ("none", "standard"):
        closed = Fuse(level=level).run(graph.clone())
        verify(closed)
        np.testing.assert_allclose(run(closed, given)["y"], want, rtol=1e-4, atol=1e-4)


def _some(channels: int) -> st.SearchStrategy[list[int]]:
    """Some of the channels, in any order."""
    order = st.permutations(range(channels))
    return st.tuples(order, st.integers(0, channels)).map(lambda drawn: list(drawn[0][: drawn[1]]))


def _sum_of(covers: list[list[int]], channels: int, returned: bool) -> str:
    """Operand 0 is made by filters, others are carried from %x (8 channels)."""
    lines = []
    for k, cover in enumerate(covers):
        n, picks = len(cover), list(ranges_of([(i * 3 + k) % 8 for i in range(len(cover))]))
        if k == 0 and n:
            lines.append(f"%w = const : tensor<{n}x8x1x1xf32>")
            lines.append(f"%t0 = nn.conv(%x, %w) {{VALID}} : tensor<1x{n}x3x3xf32>")
        else:
            lines.append(f"%t{k} = nn.carry(%x) {{ranges = {picks}}} : tensor<1x{n}x3x3xf32>")
    ranges = [r for cover in covers for r in ranges_of(cover)]
    operands = ", ".join(f"%t{k}" for k in range(len(covers)))
    type = f"tensor<1x{channels}x3x3xf32>"
    lines.append(f"%s = nn.channel_sum({operands}) {{channels = {channels}, ranges = {ranges}}} : {type}")
    lines.append(f"%r = nn.relu(%s) : {type}")
    if not returned:
        lines.append(f"%v = const : tensor<5x{channels}x3x3xf32>")
        lines.append("%y = nn.conv(%r, %v) {SAME} : tensor<1x5x3x3xf32>")
    else:
        lines.append(f"%y = nn.neg(%r) : {type}")
    text = "\n".join(lines)
    return f'graph @g(%x: tensor<1x8x3x3xf32>) {{\n{text}\nreturn %y as "y"\n}}'
