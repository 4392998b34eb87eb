"""The rewriting driver: matching, termination, explanations."""

from __future__ import annotations

import pytest

from secateur.ir.graph import Graph, Value
from secateur.ir.parser import parse_graph
from secateur.ir.rewrite import Any_, Const, Match, Op, RewriteError, Rule, always, explain, rewrite
from secateur.ir.verifier import verify
from tests.passes.texts import build, names, structure


def _drop(m: Match) -> Value:
    """neg(neg(x)) -> x"""
    return m.value("x")


def _swap(m: Match) -> Value:
    """add(x, y) -> add(y, x)"""
    return m.new("nn.add", m.root.operands[::-1])


NEG_NEG = Rule("neg-neg", Op("nn.neg", (Op("nn.neg", (Any_("x"),)),)), always, _drop)
NEG_NEG_ONCE = Rule("neg-neg", Op("nn.neg", (Op("nn.neg", (Any_("x"),), once=True),)), always, _drop)


def chain(length: int) -> Graph:
    """neg applied `length` times."""
    lines = [f"%{i + 1} = nn.neg(%{i}) : tensor<4xf32>" for i in range(length)]
    return parse_graph(f'graph @g(%0: tensor<4xf32>) {{ {" ".join(lines)} return %{length} as "y" }}')


def test_rules_apply_until_none_fires() -> None:
    graph = chain(7)
    assert rewrite(graph, [NEG_NEG])["neg-neg"] == 3
    verify(graph)
    assert names(graph) == ["nn.neg"]


def test_a_rewrite_enables_others_at_users_and_producers() -> None:
    graph = build("""graph @g(%x: tensor<4xf32>) {
      %a = nn.neg(%x) : tensor<4xf32>
      %b = nn.relu(%a) : tensor<4xf32>
      %c = nn.relu(%b) : tensor<4xf32>
      %d = nn.neg(%c) : tensor<4xf32>
      return %d as "y" }""")

    def gone(m: Match) -> Value:
        """relu(x) -> x"""
        return m.value("x")

    rewrite(graph, [NEG_NEG, Rule("relu", Op("nn.relu", (Any_("x"),)), always, gone)])
    assert names(graph) == []
    assert graph.outputs == graph.inputs


def test_first_rule_of_the_list_wins() -> None:
    def to_abs(m: Match) -> Value:
        """neg(x) -> abs(x)"""
        return m.new("nn.abs", m.root.operands)

    def to_exp(m: Match) -> Value:
        """neg(x) -> exp(x)"""
        return m.new("nn.exp", m.root.operands)

    graph = chain(1)
    rewrite(graph, [Rule("a", Op("nn.neg"), always, to_abs), Rule("b", Op("nn.neg"), always, to_exp)])
    assert names(graph) == ["nn.abs"]


def test_created_operators_keep_name_and_origin() -> None:
    graph = parse_graph("""graph @g(%x: tensor<4xf32>) {
      %a = nn.neg(%x) : tensor<4xf32> loc("first")
      %b = nn.neg(%a) : tensor<4xf32> loc("second")
      return %b as "y" }""")

    def merged(m: Match) -> Value:
        """neg(neg(x)) -> abs(x), for the test"""
        return m.new("nn.abs", [m.value("x")])

    rewrite(graph, [Rule("merge", NEG_NEG.pattern, always, merged)])
    (op,) = graph.operators
    assert (op.loc, op.result.name) == ("first+second", "b")


def test_commuting_operands_match_in_both_orders() -> None:
    def second(m: Match) -> Value:
        """add(x, c) -> x, for the test"""
        return m.value("x")

    rule = Rule("add", Op("nn.add", (Any_("x"), Const("c")), commutes=True), always, second)
    for operands in ("%x, %c", "%c, %x"):
        graph = build(f"""graph @g(%x: tensor<4xf32>) {{ %c = const : tensor<4xf32>
          %y = nn.add({operands}) : tensor<4xf32> return %y as "y" }}""")
        assert rewrite(graph, [rule])["add"] == 1


def test_a_name_bound_twice_must_be_one_value() -> None:
    def double(m: Match) -> Value:
        """add(x, x) -> neg(x), for the test"""
        return m.new("nn.neg", [m.value("x")])

    rule = Rule("double", Op("nn.add", (Any_("x"), Any_("x"))), always, double)
    text = """graph @g(%x: tensor<4xf32>, %z: tensor<4xf32>) {{
      %y = nn.add({}) : tensor<4xf32> return %y as "y" }}"""
    assert rewrite(build(text.format("%x, %x")), [rule])["double"] == 1
    with explain("double") as refused:
        assert not rewrite(build(text.format("%x, %z")), [rule])
    assert "not the value matched before as 'x'" in refused.refusals[0].reason


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        ('%c = nn.abs(%a) : tensor<4xf32> return %b as "y", %c as "z"', "%a has 2 uses, fusing needs one"),
        ('return %b as "y", %a as "z"', "%a is a graph output and must stay"),
    ],
)
def test_once_refuses_a_result_that_is_needed_elsewhere(tail: str, reason: str) -> None:
    graph = parse_graph(f"""graph @g(%x: tensor<4xf32>) {{
      %a = nn.neg(%x) : tensor<4xf32> loc("inner")
      %b = nn.neg(%a) : tensor<4xf32> loc("outer")
      {tail} }}""")
    before = structure(graph)
    with explain("neg-neg") as refused:
        assert not rewrite(graph, [NEG_NEG_ONCE])
    assert structure(graph) == before
    failure = next(r for r in refused.refusals if r.root.loc == "outer")
    assert (failure.reason, failure.operator.loc) == (reason, "inner")


def test_explanation_shows_the_operator_in_its_place() -> None:
    graph = parse_graph("""graph @g(%x: tensor<4xf32>) {
      %a = nn.abs(%x) : tensor<4xf32>
      %b = nn.neg(%a) : tensor<4xf32> loc("head/neg")
      return %b as "y" }""")
    with explain("neg-neg") as refused:
        rewrite(graph, [NEG_NEG])
    report = refused.report(graph)
    assert "neg-neg: fired 0 times, refused 1 times" in report
    assert "nn.neg (ONNX node head/neg): operand %a is nn.abs, not nn.neg" in report
    assert "-> %b = nn.neg(%a)" in report


def test_explanation_of_a_rule_that_found_no_root() -> None:
    graph = build('graph @g(%x: tensor<4xf32>) { %y = nn.abs(%x) : tensor<4xf32> return %y as "y" }')
    with explain("neg-neg") as refused:
        rewrite(graph, [NEG_NEG])
    assert "no operator of the graph is of the kind" in refused.report(graph)


def test_refusals_of_other_rules_are_not_collected() -> None:
    with explain("other") as refused:
        rewrite(chain(1), [NEG_NEG])
    assert refused.refusals == []


def test_rules_that_do_not_rest_are_named() -> None:
    graph = build("""graph @g(%x: tensor<4xf32>, %z: tensor<4xf32>) {
      %y = nn.add(%x, %z) : tensor<4xf32> return %y as "y" }""")
    with pytest.raises(RewriteError, match=r"do not come to rest; most often fired: swap \(\d+ times\)"):
        rewrite(graph, [Rule("swap", Op("nn.add"), always, _swap)])


def test_a_replacement_of_another_type_is_refused() -> None:
    def narrower(m: Match) -> Value:
        """neg(x) -> a scalar"""
        return m.new("nn.reduce_sum", m.root.operands, axes=(0,), keepdims=False)

    with pytest.raises(RewriteError, match="rule narrow replaces"):
        rewrite(chain(1), [Rule("narrow", Op("nn.neg"), always, narrower)])


def test_a_rule_needs_a_law() -> None:
    with pytest.raises(ValueError, match="rule silent has no law"):
        Rule("silent", Op("nn.neg"), always, lambda m: m.value("x"))


def test_work_grows_with_the_graph() -> None:
    tried = 0

    def count(_: Match) -> None:
        nonlocal tried
        tried += 1

    rewrite(chain(1000), [Rule("neg-neg", NEG_NEG.pattern, count, _drop)])
    assert 500 <= tried <= 2000
