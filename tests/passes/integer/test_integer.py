"""Rules to integers: each as text before and after, checked on the interpreter; refusals; biases."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.ir.graph import Graph, Operator, constant_of
from secateur.ir.interpreter import run
from secateur.ir.ops.linear import one_quant
from secateur.ir.rewrite import explain
from secateur.ir.verifier import verify
from secateur.passes.canonicalize.canonicalize import Canonicalize
from secateur.passes.fuse.fuse import Fuse
from secateur.passes.integer.elementwise import averages_a_window
from secateur.passes.integer.integer import RULES
from tests.passes.texts import Array, Case, body, build, cases, expanded, inputs, names, steps, structure

X = "tensor<1x4x5x5xf32>"
CASES = cases("integer.rules")
REFUSALS = cases("integer.refusals")


def before(text: str, seed: int = 0) -> Graph:
    return Canonicalize().run(build(body(X, expanded(text)), seed))


def after(text: str, seed: int = 0) -> Graph:
    return Fuse().run(before(text, seed))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_rule_rewrites_as_its_law_says(case: Case) -> None:
    with explain(case.rule) as explanation:
        graph = after(case.before)
    verify(graph)
    assert explanation.fired, explanation.report(graph)
    assert structure(graph) == structure(before(case.after))


@pytest.mark.parametrize("case", CASES, ids=str)
@settings(max_examples=8)
@given(seed=st.integers(0, 2**32 - 1))
def test_rule_moves_no_answer_by_more_than_one_step(case: Case, seed: int) -> None:
    graph = before(case.before, seed)
    given = inputs(graph, seed)
    assert steps(run(graph, given), run(after(case.before, seed), given)) <= 1


def test_every_rule_has_a_case() -> None:
    assert {rule.name for rule in RULES} == {case.rule for case in CASES}


@pytest.mark.parametrize("case", REFUSALS, ids=str)
def test_guard_holds_back_and_says_why(case: Case) -> None:
    with explain(case.rule) as explanation:
        graph = after(case.before)
    assert any(re.search(re.escape(case.after), r.reason) for r in explanation.refusals), explanation
    given = inputs(graph)
    assert steps(run(before(case.before), given), run(graph, given)) <= 1


# Scales, signs and biases --------------------------------------------------------------------------


CONV = """
%q = bytes %x 1x4x5x5 0.02:100
%d = real %q 1x4x5x5
%w = weights 4x4x3x3 0.01
%k = nn.conv(%d, %w) {SAME} : tensor<1x4x5x5xf32>
"""


def only(graph: Graph, name: str) -> Operator:
    (op,) = [op for op in graph.operators if op.name == name]
    return op


def constant(op: Operator, operand: int) -> Array:
    array = constant_of(op.operands[operand])
    assert array is not None
    return array


def filled(text: str, **arrays: Sequence[float]) -> Graph:
    """The graph of a text, with these elements in its constants of one axis."""
    graph = build(body(X, expanded(text)))
    for op in graph.operators:
        if op.result.name in arrays:
            old = op["value"]
            op.attributes["value"] = np.array(arrays[op.result.name], old.dtype).reshape(old.shape)
    return graph


def test_a_batch_norm_becomes_scales_signs_and_bias() -> None:
    text = f"""{CONV}
%g = const : tensor<4xf32>
%b = const : tensor<4xf32>
%m = const : tensor<4xf32>
%v = const : tensor<4xf32>
%n = nn.batch_norm(%k, %g, %b, %m, %v) {{epsilon = 0.0}} : {X}
%y = bytes %n 1x4x5x5 0.1:120
return %y as "y"
"""
    graph = filled(text, g=[1, -2, 0.5, -1], b=[0.5, 0, 0, 0], m=[0, 0, 0, -3], v=[1, 4, 1, 1])
    for op in graph.operators:
        if op.result.name == "w_s_c":
            op.attributes["value"] = np.clip(op["value"], -127, 127)
    wanted, got = Canonicalize().run(graph.clone()), Fuse().run(Canonicalize().run(graph))
    conv = only(got, "q.linear_conv")
    quant = conv.operands[1].type.quant
    assert quant is not None
    np.testing.assert_allclose(quant.scales, [0.01, 0.01, 0.005, 0.01], rtol=1e-6)
    np.testing.assert_array_equal(constant(conv, 2), [2500, 0, 0, -15000])
    assert steps(run(wanted, inputs(wanted)), run(got, inputs(got))) <= 1


def test_a_weight_of_minus_128_keeps_its_sign() -> None:
    text = f"""{CONV}
%g = const : tensor<4x1x1xf32>
%n = nn.mul(%k, %g) : {X}
%y = bytes %n 1x4x5x5 0.1:120
return %y as "y"
"""
    graph = filled(text, g=[-1, 1, 1, 1])
    next(op for op in graph.operators if op.result.name == "w_s_c")["value"][0, 0, 0, 0] = -128
    with explain("integer-linear") as explanation:
        Fuse().run(Canonicalize().run(graph))
    assert any("weights of -128 have no opposite" in r.reason for r in explanation.refusals)


BIASED = f"""{CONV}
%c = const : tensor<4xi32>
%a = q.annotate(%c) {{scales = [SCALE], zero_points = [0]}} : tensor<4xi32, quant<SCALE:0>>
%b = q.dequantize(%a) : tensor<4xf32>
%r = nn.reshape(%b) {{shape = [1, 4, 1, 1]}} : tensor<1x4x1x1xf32>
%s = nn.add(%k, %r) : {X}
%y = bytes %s 1x4x5x5 0.1:120
return %y as "y"
"""


def test_a_bias_in_steps_of_the_sum_keeps_its_integers() -> None:
    integers = [2**29 + 1, -7, 12345678, 0]
    graph = Fuse().run(Canonicalize().run(filled(BIASED.replace("SCALE", "0.0002"), c=integers)))
    np.testing.assert_array_equal(constant(only(graph, "q.linear_conv"), 2), integers)


def test_a_bias_in_other_steps_is_rounded_to_those_of_the_sum() -> None:
    graph = Fuse().run(Canonicalize().run(filled(BIASED.replace("SCALE", "0.0003"), c=[2, -8, 1001, 0])))
    np.testing.assert_array_equal(constant(only(graph, "q.linear_conv"), 2)[[0, 1, 3]], [3, -12, 0])


def test_a_large_bias_beside_tiny_weights_makes_their_steps_coarser() -> None:
    text = CONV.replace("weights 4x4x3x3 0.01", "weights 4x4x3x3 1e-20") + """
%b = const : tensor<4x1x1xf32>
%s = nn.add(%k, %b) : tensor<1x4x5x5xf32>
%y = bytes %s 1x4x5x5 0.1:120
return %y as "y"
"""  # fmt: skip
    graph = filled(text, b=[1, -2, 0, 4])
    given = inputs(graph)
    wanted, graph = run(graph, given), Fuse().run(Canonicalize().run(graph))
    assert names(graph) == ["q.quantize", "q.linear_conv"]
    assert steps(wanted, run(graph, given)) == 0


def test_sums_that_may_leave_32_bits_stay_float() -> None:
    text = """graph @g(%x: tensor<1x70000xf32>) {
%q = bytes %x 1x70000 0.02:0
%d = real %q 1x70000
%w = weights 70000x1 0.01
%k = nn.matmul(%d, %w) : tensor<1x1xf32>
return %k as "y" }"""
    graph = build(expanded(text))
    next(op for op in graph.operators if op.result.name == "w_s_c")["value"][:] = -128
    with explain("integer-linear-real") as explanation:
        graph = Fuse().run(Canonicalize().run(graph))
    assert any("may not fit 32 bits" in r.reason for r in explanation.refusals)
    assert names(graph) == ["q.quantize", "q.dequantize", "nn.matmul"]


def test_limits_are_what_the_bounds_become() -> None:
    text = f"""{CONV}
%l = nn.clip(%k) {{min = -0.95, max = 100.0}} : {X}
%y = bytes %l 1x4x5x5 0.1:120
return %y as "y"
"""
    conv = only(after(text), "q.linear_conv")
    assert conv["limits"] == (110, 255)  # -9.5 steps round to even: -10
    assert one_quant(conv.result.type) == (float(np.float32(0.1)), 120)


def test_one_dequantized_value_serves_several_operators() -> None:
    graph = after(f"""{CONV}
%y = bytes %k 1x4x5x5 0.1:120
%s = nn.add(%d, %d) : {X}
%t = bytes %s 1x4x5x5 0.1:120
%m = nn.max_pool(%d) {{kernel = [3, 3], SAME}} : {X}
%u = bytes %m 1x4x5x5 0.02:100
return %y as "y", %t as "t", %u as "u"
""")
    assert sorted(names(graph)) == ["nn.max_pool", "q.linear_add", "q.linear_conv", "q.quantize"]


def test_constants_that_stay_float_are_dequantized_for_good() -> None:
    graph = after("""%q = bytes %x 1x4x5x5 0.02:100
%d = real %q 1x4x5x5
%w = weights 1x4x1x1 0.5
%s = nn.max(%d, %w) : tensor<1x4x5x5xf32>
%y = nn.softmax(%s) {axis = 1} : tensor<1x4x5x5xf32>
return %y as "y"
""")
    assert names(graph) == ["q.quantize", "q.dequantize", "nn.map", "nn.softmax"]


def test_signed_inputs_and_outputs_keep_their_type() -> None:
    graph = build("""graph @g(%x: tensor<1x4x5x5xi8>) {
      %a = q.annotate(%x) {scales = [0.5], zero_points = [1]} : tensor<1x4x5x5xi8, quant<0.5:1>>
      %d = q.dequantize(%a) : tensor<1x4x5x5xf32>
      %s = nn.add(%d, %d) : tensor<1x4x5x5xf32>
      %y = q.quantize(%s) {scales = [0.5], zero_points = [-9], dtype = i8} : tensor<1x4x5x5xi8, quant<0.5:-9>>
      return %y as "y" }""")
    given = {"x": np.random.default_rng(0).integers(-128, 128, (1, 4, 5, 5)).astype(np.int8)}
    wanted, graph = run(graph, given), Fuse().run(Canonicalize().run(graph))
    assert names(graph) == ["q.annotate", "q.table", "q.linear_add", "q.table"]
    assert steps(wanted, run(graph, given)) <= 1


def test_conservative_fusion_makes_no_integers() -> None:
    text = CONV + '%y = bytes %k 1x4x5x5 0.1:3\nreturn %y as "y"'
    kept = names(Fuse(level="conservative").run(before(text)))
    assert [name for name in kept if name.startswith("q.linear")] == []
    assert "q.linear_conv" in names(after(text))


@pytest.mark.parametrize(("side", "fits"), [(1024, True), (1025, False)])
def test_a_mean_over_a_plane_is_a_window_up_to_its_limit(side: int, fits: bool) -> None:
    """What quantization plans and what becomes integer ask the same question."""
    text = '%y = nn.reduce_mean(%x) {axes = [2, 3]} : tensor<1x1x1x1xf32> return %y as "y"'
    (mean,) = build(body(f"tensor<1x1x{side}x{side}xf32>", text)).operators
    assert averages_a_window(mean) is fits
