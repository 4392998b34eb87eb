"""Functions of a model, and operators that ONNX defines by simpler ones: both are read in place."""

from __future__ import annotations

import onnx
import pytest

from secateur.ir.errors import ModelError
from secateur.ir.onnx_reader import read_model
from secateur.ir.stages import READ
from secateur.ir.verifier import verify
from tests.onnx.models import assert_as_onnxruntime, operators

HEAD = '<ir_version: 10, opset_import: ["": {opset}, "my": 1]> main (float[1,3,8,8] x) => (y)'
DOMAIN = '<domain: "my", opset_import: ["": 18, "my": 1]>'


def model(nodes: str, *functions: str, opset: int = 18) -> onnx.ModelProto:
    text = "\n".join([HEAD.format(opset=opset), f"{{ {nodes} }}", *(f"{DOMAIN} {f}" for f in functions)])
    return onnx.parser.parse_model(text)


def check(proto: onnx.ModelProto, nodes: list[str]) -> None:
    graph = read_model(proto)
    verify(graph, READ)
    assert operators(graph) == [f"nn.{name}" for name in nodes]
    assert_as_onnxruntime(proto, graph)


TWICE = "Twice (a) => (b) { b = Add (a, a) }"
SCALED = """Scaled <factor: float = 2.0> (a) => (b) {
  f = Constant <value_float: float = @factor> () b = Mul (a, f) }"""


def test_a_function_is_read_in_place() -> None:
    check(model("a = my.Twice (x) b = Abs (a) y = my.Twice (b)", TWICE), ["add", "abs", "add"])


def test_its_nodes_say_where_they_were_called() -> None:
    graph = read_model(model("[call] a = my.Twice (x) y = Abs (a)", TWICE))
    assert [op.loc for op in graph.operators] == ["call/Add#0", "Abs#1"]


@pytest.mark.parametrize(("words", "factor"), [("", 2.0), ("<factor = 3.5>", 3.5)])
def test_attributes_are_given_or_have_defaults(words: str, factor: float) -> None:
    proto = model(f"y = my.Scaled {words} (x)", SCALED)
    graph = read_model(proto)
    assert float(graph.operators[0]["value"]) == factor
    assert_as_onnxruntime(proto, graph)


def test_an_attribute_that_is_not_given_is_left_out() -> None:
    function = "Soft <axis> (a) => (b) { b = Softmax <axis: int = @axis> (a) }"
    assert read_model(model("y = my.Soft (x)", function)).operators[0]["axis"] == 3
    assert read_model(model("y = my.Soft <axis = 1> (x)", function)).operators[0]["axis"] == 1


def test_functions_call_functions_with_their_own_attributes() -> None:
    outer = "Outer <by> (a) => (b) { c = my.Scaled <factor: float = @by> (a) b = my.Twice (c) }"
    check(model("y = my.Outer <by = 0.5> (x)", outer, SCALED, TWICE), ["mul", "add"])


def test_attributes_reach_into_branches() -> None:
    then = "t () => (t_y) { t_y = Elu <alpha: float = @alpha> (a) }"
    function = f"""Chosen <alpha> (a) => (b) {{
      s = Size (a) n = Constant <value = int64 {{5}}> () c = Greater (s, n)
      b = If (c) <then_branch = {then}, else_branch = e () => (e_y) {{ e_y = Identity (a) }}> }}"""
    proto = model("y = my.Chosen <alpha = 0.25> (x)", function)
    assert read_model(proto).operators[-1]["alpha"] == 0.25
    assert_as_onnxruntime(proto, read_model(proto))


def test_inputs_and_outputs_may_be_left_out() -> None:
    function = "Bounded (a, low, high) => (b, c) { b = Clip (a, low, high) c = Neg (a) }"
    nodes = "z = Constant <value = float {0.5}> () y = my.Bounded (x, , z)"
    assert operators(read_model(model(nodes, function))) == ["nn.clip"]


def test_outputs_that_nobody_asks_for_need_not_be_computed() -> None:
    """As ONNX writes its Attention without the keys and values that it hands on."""
    function = "Half (a) => (b, c) { b = Neg (a) }"
    assert operators(read_model(model("y = my.Half (x)", function))) == ["nn.neg"]
    with pytest.raises(ModelError, match="'c' is used before it is defined"):
        read_model(model("y, z = my.Half (x)", function))


def test_a_function_sees_no_names_but_its_own() -> None:
    with pytest.raises(ModelError, match=r"^Add node 'Hidden#1/Add#0': 'n' is used before it is defined"):
        read_model(model("n = Abs (x) y = my.Hidden (x)", "Hidden (a) => (b) { b = Add (a, n) }"))


def test_a_function_may_have_an_opset_of_its_own() -> None:
    old = '<domain: "my", opset_import: ["": 12]> Sum1 (a) => (b) { b = ReduceSum <axes = [1]> (a) }'
    text = f"{HEAD.format(opset=18)} {{ y = my.Sum1 (x) }} {old}"
    assert read_model(onnx.parser.parse_model(text)).operators[-1]["axes"] == (1,)


@pytest.mark.parametrize("version", [-1, 0, 999, 1 << 40])
def test_a_function_of_an_unknown_opset(version: int) -> None:
    proto = model("y = my.Twice (x)", TWICE)
    proto.functions[0].opset_import[0].version = version
    with pytest.raises(ModelError, match=f"the function uses opset {version}; known: up to"):
        read_model(proto)


DEEP = [f"F{i} (a) => (b) {{ c = my.F{i + 1} (a) b = my.F{i + 1} (c) }}" for i in range(30)]

REFUSED = [
    (
        ["Loopy (a) => (b) { b = my.Loopy (a) }"],
        "my.Loopy (x)",
        "more than 64 graphs and functions",
    ),
    ([*DEEP, "F30 (a) => (b) { b = Abs (a) }"], "my.F0 (x)", "more than 20000 nodes of loops unrolled"),
    ([TWICE], "my.Twice (x, x)", "takes 1 inputs, the node has 2"),
    ([TWICE], "my.Twice <by = 1> (x)", "the function has no attribute 'by'"),
    ([SCALED], "my.Scaled <factor = 1> (x)", "attribute 'value_float' refers to one of another kind"),
    ([TWICE, TWICE], "my.Twice (x)", "function 'Twice' is defined twice"),
    ([TWICE], "my.Thrice (x)", "my::Thrice: Thrice#0"),
    (["Odd (a) => (b) { b = NonZero (a) }"], "my.Odd (x)", "NonZero .*: Odd#0/NonZero#0"),
]


@pytest.mark.parametrize(("functions", "call", "message"), REFUSED, ids=[m for *_, m in REFUSED])
def test_functions_that_are_refused(functions: list[str], call: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read_model(model(f"y = {call}", *functions))


def test_a_reference_outside_of_a_function() -> None:
    with pytest.raises(ModelError, match="refers to a function's attribute, but stands in none"):
        read_model(model("y = Elu <alpha: float = @alpha> (x)"))


# Operators that ONNX defines by simpler ones -------------------------------------------------------------

DEFINED = [
    "y = Shrink <bias = 0.5, lambd = 0.25> (x)",
    "y = MeanVarianceNormalization (x)",
    "y = MeanVarianceNormalization <axes = [1]> (x)",
    "n = Constant <value = int64 {8}> () w = HannWindow (n) y = Mul (x, w)",
    "n = Constant <value = int64 {8}> () w = BlackmanWindow <periodic = 0> (n) y = Mul (x, w)",
    "s = Constant <value = int64[2] {5, 4}> () y = CenterCropPad <axes = [2, 3]> (x, s)",
]


@pytest.mark.parametrize("nodes", DEFINED)
def test_operators_that_onnx_defines_by_others(nodes: str) -> None:
    proto = model(nodes)
    graph = read_model(proto)
    verify(graph, READ)
    assert_as_onnxruntime(proto, graph)


@pytest.mark.parametrize("more", ["", ", is_causal = 1", ", softcap = 2.0"])
def test_attention(more: str) -> None:
    """A function that depends on what the node names."""
    nodes = f"y = Attention <scale = 0.3{more}> (x, x, x)"
    text = f'<ir_version: 10, opset_import: ["": 23]> main (float[1,2,5,4] x) => (y) {{ {nodes} }}'
    proto = onnx.parser.parse_model(text)
    assert_as_onnxruntime(proto, read_model(proto))
