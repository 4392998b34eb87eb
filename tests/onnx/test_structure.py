"""What vanishes while reading: operators on known values, branches, loops, sequences."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import onnx
import pytest
from numpy.typing import NDArray
from onnx.backend.test.runner import Runner

from secateur.ir.errors import ModelError
from secateur.ir.interpreter import run
from secateur.ir.onnx_reader import OPERATORS, read_model
from secateur.ir.onnx_reader.known import COMPUTED
from secateur.ir.stages import READ
from secateur.ir.verifier import verify
from tests.onnx import suite
from tests.onnx.models import assert_as_onnxruntime, model, operators

Array = NDArray[Any]


def check(proto: onnx.ModelProto, nodes: list[str]) -> None:
    """The graph has these operators and computes what ONNX Runtime does."""
    graph = read_model(proto)
    verify(graph, READ)
    assert operators(graph) == [f"nn.{name}" for name in nodes]
    assert_as_onnxruntime(proto, graph)


# ONNX's own tests, all inputs known ----------------------------------------------------------------------

REFUSED = {
    "test_if_seq": "is a sequence, not a tensor",
    "test_if_opt": "Optional: ",
    "test_scan_sum": "the form of opset 8",
}

SEQUENCES_GIVEN = {"test_loop13_seq", "test_loop16_seq_none"}


@cache
def suite_cases() -> dict[str, suite.Case]:
    """Tests of operators that are read only where what they need is known."""
    loaded = [c for c in suite.loaded() if "bfloat16" not in c.name]
    wanted, found = {*COMPUTED, "If", "Loop", "Scan"}, {}
    for c in loaded:
        nodes = c.model.graph.node if c.model is not None else []
        if c.model is not None and len(nodes) == 1 and nodes[0].op_type in wanted:
            found[c.name] = suite.Case(c.name, c.model, c.data_sets or (), c.rtol, c.atol)
    return found


def _known_answer(case: suite.Case, inputs: Sequence[Any]) -> list[Array]:
    names = [i.name for i in case.model.graph.input]
    graph = read_model(case.model, constants=dict(zip(names, suite.arrays(list(inputs)), strict=False)))
    assert operators(graph) == []
    found = run(graph, {})
    return [found[name] for name in graph.output_names]


def test_the_suite_has_every_operator_on_known_values() -> None:
    tested = {case.model.graph.node[0].op_type for case in suite_cases().values()}
    assert set(COMPUTED) - tested == set()


def test_few_of_them_have_a_handler_too() -> None:
    """What works on computed tensors too."""
    indexed = {"GatherElements", "GatherND", "Scatter", "ScatterElements", "ScatterND"}
    along = {"CumSum", "OneHot", "ReverseSequence", "TopK", "Trilu"}
    inverse = {"Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cosh", "Sinh", "Tan"}
    assert OPERATORS & set(COMPUTED) == {"ArgMin", *indexed, *along, *inverse}


def test_operators_on_known_values_are_computed() -> None:
    tried = [case for case in suite_cases().values() if case.name not in {*REFUSED, *SEQUENCES_GIVEN}]
    assert sum(len(case.data_sets) for case in tried) >= len(tried) > 30
    for case in tried:
        for inputs, outputs in case.data_sets:
            found = _known_answer(case, inputs)
            Runner.assert_similar_outputs(suite.arrays(outputs), found, rtol=case.rtol, atol=case.atol)


@pytest.mark.parametrize("name", REFUSED)
def test_forms_that_are_refused(name: str) -> None:
    case = suite_cases()[name]
    with pytest.raises(ModelError, match=REFUSED[name]):
        _known_answer(case, case.data_sets[0][0])


# Shape arithmetic ----------------------------------------------------------------------------------------

KNOWN = """<
  int64 zero = {0}, int64 one = {1}, int64 two = {2}, int64 three = {3}, int64 five = {5}, int64 nine = {9},
  int64[1] i0 = {0}, int64[1] i1 = {1}, int64[1] i2 = {2}, int64[1] i3 = {3}, int64[1] i4 = {4},
  int64[1] i9 = {9}, int64[1] minus = {-1}, int64[3] some = {0, 3, 0}, float half = {0.5}, float f3 = {3.0},
  bool yes = {1}, int64 far = {9223372036854775807}, int64[2] halves = {1, 2}
>"""

ARITHMETIC = [
    ("s = Shape (x) h = Gather (s, two) f = Cast <to = 1> (h) m = Mul (f, half) r = Floor (m) "
     "c = Cast <to = 7> (r) u = Unsqueeze (c, i0) p = Concat <axis = 0> (u, minus) y = Reshape (x, p)",
     ["reshape"]),
    ("s = Shape (x) h = Gather (s, two) f = Cast <to = 1> (h) d = Div (f, f3) r = Ceil (d) q = Round (r) "
     "c = Cast <to = 7> (q) u = Unsqueeze (c, i0) p = Concat <axis = 0> (i1, i1, i1, u) y = Tile (x, p)",
     ["tile"]),
    ("s = Shape (x) h = Gather (s, two) m = Mod (h, three) u = Unsqueeze (m, i0) "
     "p = Concat <axis = 0> (u, minus) y = Reshape (x, p)", ["reshape"]),
    ("s = Shape (x) t = Slice (s, i2, i4) q = ReduceProd <keepdims = 1> (t) "
     "p = Concat <axis = 0> (minus, q) y = Reshape (x, p)", ["reshape"]),
    ("a = NonZero (some) b = Squeeze (a, i0) y = Gather <axis = 3> (x, b)", ["gather"]),
    ("r = Range (zero, nine, one) f = Cast <to = 1> (r) a = Sin (f) b = Cos (f) c = Add (a, b) "
     "t = Slice (c, i1, i2) y = Mul (x, t)", ["mul"]),
    ("s = Shape (x) n = Slice (s, i1, i4) m = Concat <axis = 0> (minus, n) o = ConstantOfShape "
     "<value = int64[1] {1}> (i4) k = Mul (o, minus) e = Equal (m, k) w = Where (e, o, m) y = Expand (x, w)",
     ["expand"]),
    ("z = Size (x) p = Unsqueeze (z, i0) y = Reshape (x, p)", ["reshape"]),
    ("q = ConstantOfShape <value = int64[1] {2}> (i4) c = CumSum (q, zero) g = ScatterND (c, pos, i3) "
     "t = Slice (g, i0, i2) m = ReduceMin <keepdims = 1> (t) p = Concat <axis = 0> (m, minus) "
     "y = Reshape (x, p)", ["reshape"]),
]  # fmt: skip


@pytest.mark.parametrize(("nodes", "left"), ARITHMETIC)
def test_shape_arithmetic_is_computed(nodes: str, left: list[str]) -> None:
    head = KNOWN.replace("int64 zero", "int64[1,1] pos = {1}, int64 zero", 1)
    check(model(f"{head} {{ {nodes} }}"), left)


def test_the_same_on_data_is_refused_with_the_reason() -> None:
    with pytest.raises(ModelError) as caught:
        read_model(
            model('[a] p = Det (x) [b] q = BitShift <direction = "LEFT"> (x, x) [c] y = BitShift (x, p)')
        )
    why = "only of values known while reading"
    assert str(caught.value).splitlines()[1:] == [f"  BitShift ({why}): b", f"  Det ({why}): a"]


BAD = [
    ("a = GatherND (some, i9)", "cannot be computed"),
    ("a = GatherND (some)", "takes at least 2 inputs, the node has 1"),
    ("a = OneHot (some, far, halves)", "a dimension that is not an integer"),
    ("a = BitShift <direction = \"LEFT\"> (some, i0)", "which BitShift does not take"),
    ("a = BitwiseAnd (some, halves)", "shape mismatch"),
]  # fmt: skip


@pytest.mark.parametrize(("node", "message"), BAD)
def test_known_values_that_do_not_fit(node: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read_model(model(f"{KNOWN} {{ {node} y = Reshape (x, a) }}", 18))


# Branches ------------------------------------------------------------------------------------------------

THEN = "t () => (t_y) { t_y = Abs (x) }"
ELSE = "e () => (e_y) { e_a = Neg (x) e_y = Relu (e_a) }"
TALL = "s = Shape (x) h = Gather (s, two) c = Greater (h, five)"


def _if(condition: str, then: str = THEN, otherwise: str = ELSE, result: str = "y") -> str:
    return f"{result} = If ({condition}) <then_branch = {then}, else_branch = {otherwise}>"


@pytest.mark.parametrize(("height", "left"), [(8, ["abs"]), (5, ["neg", "relu"])])
def test_the_branch_that_the_shape_chooses(height: int, left: list[str]) -> None:
    check(model(f"{KNOWN} {{ {TALL} {_if('c')} }}", head=f"float[1,3,{height},8] x"), left)


def test_the_squeeze_of_the_legacy_exporter() -> None:
    squeeze = "t () => (t_y) { t_y = Squeeze (x, i0) }"
    identity = "e () => (e_y) { e_y = Identity (x) }"
    nodes = f"s = Shape (x) n = Gather (s, zero) c = Equal (n, one) {_if('c', squeeze, identity, 'a')}"
    check(model(f"{KNOWN} {{ {nodes} y = Relu (a) }}"), ["reshape", "relu"])


def test_a_branch_that_is_not_taken_may_hold_anything() -> None:
    nodes = f"d = MaxRoiPool (x, x) {TALL} {_if('c', otherwise='e () => (e_y) { e_y = Abs (d) }')}"
    assert operators(read_model(model(f"{KNOWN} {{ {nodes} }}"))) == ["nn.abs"]


def test_branches_inside_branches_see_the_names_around_them() -> None:
    inner = "i () => (i_y) <float[1] w = {2.0}> { i_y = Mul (o_a, w) }"
    outer = f"o () => (o_y) {{ o_a = Abs (x) {_if('c', inner, ELSE, 'o_y')} }}"
    check(model(f"{KNOWN} {{ {TALL} {_if('c', outer)} }}"), ["abs", "mul"])


def test_a_branch_without_nodes() -> None:
    graph = read_model(model(f"{KNOWN} {{ a = Relu (x) {TALL} {_if('c', 't () => (a) {}')} }}"))
    assert operators(graph) == ["nn.relu"]


def test_errors_inside_a_branch_name_the_node_there() -> None:
    bad = "t () => (t_y) { [inner] t_y = Softmax <axis = 9> (x) }"
    with pytest.raises(ModelError, match=r"^Softmax node 'inner': axis 9 is outside"):
        read_model(model(f"{KNOWN} {{ {TALL} {_if('c', bad)} }}"))


BRANCHES = [
    (_if("c", "t () => (x_z) { }"), "'x_z' is used before it is defined"),
    (_if("c", "t () => (s) { s = Abs (x) }"), "'s' is defined twice"),
    (_if("far"), "input 0 .cond. is i64, which If does not take"),
    (_if("c", "t (float[1] q) => (t_y) { t_y = Abs (x) }"), "the graph inside has 1 inputs, 0 are given"),
    (_if("c", THEN, ELSE, "y, z"), "only 1 outputs are supported, the node has 2"),
    ("y = If (c)", "attribute 'then_branch' is missing"),
]


@pytest.mark.parametrize(("node", "message"), BRANCHES)
def test_branches_that_are_refused(node: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read_model(model(f"{KNOWN} {{ {TALL} {node} }}"))


# Loops ---------------------------------------------------------------------------------------------------

BODY = """b (int64 i, bool go, float[1,3,8,8] v) => (go_on, v_next, slice) {
  go_on = Identity (go) f = Cast <to = 1> (i) v_next = Add (v, f)
  slice = ReduceMax <keepdims = 0> (v_next) }"""


def _loop(trips: str, condition: str, body: str = BODY, results: str = "v, all") -> str:
    return f"{results} = Loop ({trips}, {condition}, x) <body = {body}>"


def test_a_loop_of_known_length_is_unrolled() -> None:
    nodes = f"{KNOWN} {{ {_loop('three', 'yes')} y = Add (all, all) }}"
    each = ["add", "reduce_max"] * 3
    check(model(nodes), [*each, *["reshape"] * 3, "concat", "add"])


def test_nodes_of_an_iteration_say_which() -> None:
    nodes = f"{KNOWN} {{ [loop] {_loop('two', '')} y = Relu (v) }}"
    graph = read_model(model(nodes))
    assert [op.loc for op in graph.operators if op.name == "nn.add"] == ["loop.0/Add#2", "loop.1/Add#2"]


def test_a_loop_ends_where_its_condition_does() -> None:
    body = BODY.replace("go_on = Identity (go)", "go_on = Less (i, two)")
    proto = model(f"{KNOWN} {{ {_loop('far', 'yes', body)} y = Relu (v) }}")
    check(proto, ["add"] * 3 + ["relu"])
    check(model(f"{KNOWN} {{ {_loop('', 'yes', body)} y = Relu (v) }}"), ["add"] * 3 + ["relu"])


def test_a_loop_that_does_not_run() -> None:
    body = BODY.replace("slice)", "float[2] slice)")
    graph = read_model(model(f"{KNOWN} {{ {_loop('zero', 'yes', body)} y = Relu (all) }}"))
    assert graph.outputs[0].type.shape == (0, 2)
    with pytest.raises(ModelError, match="runs no iteration, and the shape of 'slice' is not declared"):
        read_model(model(f"{KNOWN} {{ {_loop('zero', 'yes')} y = Relu (all) }}"))


def test_a_loop_fills_a_sequence() -> None:
    body = """b (int64 i, bool go, seq(float[1,3,8,8]) v) => (go_on, v_next) {
      go_on = Identity (go) f = Cast <to = 1> (i) a = Add (x, f) v_next = SequenceInsert (v, a) }"""
    nodes = f"q = SequenceEmpty () all = Loop (three, yes, q) <body = {body}>"
    proto = model(f"{KNOWN} {{ {nodes} y = ConcatFromSequence <axis = 1> (all) }}")
    check(proto, ["add", "add", "add", "concat"])


LOOPS = [
    (_loop("far", "yes"), "more than 20000 nodes of loops unrolled and functions inlined"),
    (_loop("n", "yes"), r"Loop \(its number of iterations is not known while reading\): Loop#"),
    (_loop("two", "m"), r"Loop \(its condition is not known while reading\)"),
    (_loop("two", "yes", BODY.replace("Identity (go)", "Cast <to = 9> (slice)")), "is used before"),
    (_loop("two", "yes", BODY.replace("bool go, ", "")), "the graph inside has 2 inputs, 3 are given"),
]


@pytest.mark.parametrize(("node", "message"), LOOPS, ids=[m for _, m in LOOPS])
def test_loops_that_are_refused(node: str, message: str) -> None:
    data = "h = ReduceMax <keepdims = 0> (x) n = Cast <to = 7> (h) m = Cast <to = 9> (h)"
    with pytest.raises(ModelError, match=message):
        read_model(model(f"{KNOWN} {{ {data} {node} y = Add (v, x) }}"))


@pytest.mark.parametrize("backward", [0, 1])
@pytest.mark.parametrize("axis", [0, 2, -1])
def test_a_scan_is_unrolled(axis: int, backward: int) -> None:
    body = "b (float[3] s, float[3] e) => (s_next, o) { s_next = Add (s, e) o = Mul (s_next, e) }"
    words = f"scan_input_axes = [{axis}], " + ", ".join(
        f"scan_{side}_directions = [{backward}]" for side in ("input", "output")
    )
    shape = {0: "4,3", 2: "1,3,4", -1: "3,4"}[axis]
    free = body.replace("float[3] s, float[3] e", "float[1,3] s, float[1,3] e") if axis == 2 else body
    start = "float[1,3] z = {1.0, 2.0, 3.0}" if axis == 2 else "float[3] z = {1.0, 2.0, 3.0}"
    nodes = f"last, all = Scan <num_scan_inputs = 1, {words}, body = {free}> (z, x) y = Add (all, last)"
    proto = model(f"<{start}> {{ {nodes} }}", head=f"float[{shape}] x")
    assert_as_onnxruntime(proto, read_model(proto))


# Sequences -----------------------------------------------------------------------------------------------

SEQUENCES = [
    "q = SplitToSequence <axis = 2> (x, three) n = SequenceLength (q) a = SequenceAt (q, minus) "
    "f = Cast <to = 1> (n) y = Mul (a, f)",
    "q = SplitToSequence <axis = 3, keepdims = 0> (x) a = SequenceAt (q, two) y = Relu (a)",
    "q = SplitToSequence <axis = 1> (x, halves) a = SequenceAt (q, one) y = Relu (a)",
    "q = SequenceConstruct (x, x) a = Abs (x) r = SequenceInsert (q, a, zero) e = SequenceErase (r, one) "
    "i = Identity (e) y = ConcatFromSequence <axis = -1, new_axis = 1> (i)",
]


@pytest.mark.parametrize("nodes", SEQUENCES)
def test_sequences_vanish(nodes: str) -> None:
    proto = model(f"{KNOWN.replace('int64[1] minus', 'int64 minus')} {{ {nodes} }}")
    assert_as_onnxruntime(proto, read_model(proto))


BAD_SEQUENCES = [
    ("q = SequenceConstruct (x, x) y = Relu (q)", "input 0 is a sequence, not a tensor"),
    ("y = SequenceAt (x, zero)", "input 0 is not a sequence"),
    ("q = SequenceConstruct (x, x) y = SequenceAt (q, two)", "position 2 is outside 2"),
    ("q = SequenceEmpty () y = ConcatFromSequence <axis = 0> (q)", "an empty sequence has no concatenation"),
    ("q = SplitToSequence (x, zero) y = SequenceAt (q, zero)", "parts of 0"),
    ("y = SequenceConstruct (x, x)", "output 'y' is a sequence, not a tensor"),
]


@pytest.mark.parametrize(("nodes", "message"), BAD_SEQUENCES, ids=[m for _, m in BAD_SEQUENCES])
def test_sequences_that_are_refused(nodes: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read_model(model(f"{KNOWN} {{ {nodes} }}"))
