"""The memory pass: who shares bytes, which plans are refused, and running inside the arena."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.ir.elementwise import Step
from secateur.ir.errors import SecateurError, VerifyError
from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.interpreter import evaluate, run
from secateur.ir.parser import parse_graph
from secateur.ir.printer import print_graph
from secateur.ir.registry import create
from secateur.ir.stages import PLACED
from secateur.ir.types import TensorType
from secateur.ir.verifier import verify
from secateur.passes.memory.memory import Memory, arena_report
from secateur.passes.memory.placement import check_placement
from tests.passes.texts import inputs, names

Array = np.ndarray[Any, Any]
T = "tensor<1x4x4x4xf32>"  # 256 bytes


PLAN_IN_PLACE = f"""graph @g(%x: {T}) {{
  %a = prim.exp(%x) {{primitive = "q", offset = [0]}} : {T}
  %b = prim.neg(%a) {{primitive = "p", offset = [0]}} : {T}
  %c = prim.neg(%b) {{primitive = "q", offset = [-1]}} : {T}
  return %c as "y" }}"""


def graph(body: str) -> Graph:
    """A graph on %x; `{p}` and `{view}` name an operator's primitive."""
    text = re.sub(r"\{(p|view)\b", r'{primitive = "\1"', body)
    return parse_graph(f"graph @g(%x: {T}) {{\n{text}\n}}")


def offsets(graph: Graph) -> list[tuple[int, ...]]:
    return [op["offset"] for op in graph.operators if op.name != "nn.constant"]


# A machine with nothing but the arena -----------------------------------------------------------------


class Machine:
    """Runs a placed graph with all values in one block of bytes; workspaces and stale bytes are garbage."""

    def __init__(self, graph: Graph, given: dict[str, Array]) -> None:
        self.graph = graph
        self.arena = np.full(arena_report(graph).peak, 0xA5, np.uint8)
        self.outside: dict[Value, Array] = {v: given[v.name] for v in graph.inputs}

    def bytes_of(self, value: Value) -> Array:
        assert value.producer is not None
        offset = value.producer["offset"][0]
        return self.arena[offset : offset + value.type.bytes]

    def load(self, value: Value) -> Array:
        if value in self.outside:
            return self.outside[value]
        return self.bytes_of(value).copy().view(value.type.dtype.numpy).reshape(value.type.shape)

    def step(self, op: Operator) -> None:
        if op.name == "nn.constant":
            self.outside[op.result] = op["value"]
            return
        (array,) = evaluate(op, [self.load(v) for v in op.operands])
        work = op.get("workspace_offset", 0)
        self.arena[work : work + op.get("workspace", 0)] = 0x5A
        if op["offset"][0] < 0:
            self.outside[op.result] = array
        else:
            self.bytes_of(op.result)[:] = np.ascontiguousarray(array).view(np.uint8).reshape(-1)

    def run(self) -> dict[str, Array]:
        for op in self.graph.operators:
            self.step(op)
        return {n: self.outside[v] for v, n in zip(self.graph.outputs, self.graph.output_names, strict=True)}


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Operators of several sizes, views, joins, workspaces; outputs that are inputs or returned twice."""
    g = Graph()
    values = [g.add_input(TensorType((2, 8)), "x")]
    for i in range(draw(st.integers(1, 14))):
        op = draw(operators(values))
        op.attributes["primitive"] = {"prim.reshape": "view", "prim.concat": "join"}.get(op.name, "p")
        if draw(st.booleans()) and op["primitive"] == "p":
            op.attributes["workspace"] = draw(st.integers(1, 300))
        op.result.name = f"v{i}"
        values.append(g.append(op).result)
    outputs = draw(st.lists(st.sampled_from(values), min_size=1, max_size=3))
    g.set_outputs(outputs, [f"out{i}" for i in range(len(outputs))])
    return g


@st.composite
def operators(draw: st.DrawFn, values: list[Value]) -> Operator:
    x = draw(st.sampled_from(values))
    kind = draw(st.sampled_from(["neg", "map", "add", "reshape", "concat", "slice", "grow"]))
    same = [v for v in values if v.type == x.type]
    if kind == "map":
        return create("prim.map", [x, draw(st.sampled_from(same))], {"epilogue": (Step("relu"), Step("add"))})
    if kind == "add":
        return create("prim.add", [x, draw(st.sampled_from(same))])
    if kind == "reshape":
        return create("prim.reshape", [x], {"shape": (x.type.elements,)})
    if kind in ("concat", "grow") and x.type.elements <= 200:
        return create("prim.concat", [x, draw(st.sampled_from(same))], {"axis": 0})
    if kind == "slice" and x.type.shape[0] > 1:
        shape = x.type.shape
        half = (shape[0] // 2, *shape[1:])
        zeros, ones = (0,) * len(shape), (1,) * len(shape)
        return create("prim.slice", [x], {"starts": zeros, "sizes": half, "steps": ones})
    return create("prim.neg", [x])


@settings(max_examples=60)
@given(graphs(), st.booleans())
def test_a_machine_with_nothing_but_the_arena_gives_the_same_answers(g: Graph, in_place: bool) -> None:
    given = {"x": np.arange(16, dtype=np.float32).reshape(2, 8) - 7}
    want = run(g, given)
    placed = Memory(in_place=in_place).run(g.clone())
    verify(placed, PLACED)
    got = Machine(placed, given).run()
    for name, array in want.items():
        np.testing.assert_array_equal(got[name], array)


@settings(max_examples=60)
@given(graphs(), st.data())
def test_the_walk_accepts_no_plan_that_gives_a_wrong_answer(g: Graph, data: st.DataObject) -> None:
    given = {"x": np.arange(16, dtype=np.float32).reshape(2, 8) - 7}
    want = run(g, given)
    placed = Memory().run(g.clone())
    inside = [op for op in placed.operators if op["offset"][0] >= 0]
    for op in data.draw(st.lists(st.sampled_from(inside), min_size=1, max_size=2)) if inside else []:
        op.attributes["offset"] = (data.draw(st.integers(0, 6)) * 64,)
    try:
        check_placement(placed)
    except VerifyError:
        return
    got = Machine(placed, given).run()
    assert all(np.array_equal(got[name], array) for name, array in want.items())


@settings(max_examples=60)
@given(graphs())
def test_the_peak_is_at_least_the_bound_and_in_place_never_costs(g: Graph) -> None:
    plain = arena_report(Memory(in_place=False).run(g.clone()))
    shared = arena_report(Memory().run(g.clone()))
    assert plain.lower_bound <= plain.peak
    assert shared.lower_bound <= shared.peak
    assert shared.lower_bound <= plain.lower_bound


# Who shares bytes -------------------------------------------------------------------------------------


def test_elementwise_operators_compute_in_place_where_their_operand_dies() -> None:
    g = graph(f"""
      %a = prim.exp(%x) {{p}} : {T}
      %b = prim.map(%a, %x) {{p, epilogue = [add]}} : {T}
      %c = prim.sub(%x, %b) {{p}} : {T}
      %d = prim.neg(%c) {{p}} : {T}
      return %d as "y" """)
    assert offsets(Memory().run(g.clone())) == [(0,), (0,), (0,), (-1,)]
    assert len(set(offsets(Memory(in_place=False).run(g.clone()))[:2])) == 2


def test_a_residual_may_be_overwritten_by_its_convolution() -> None:
    w = '%w = nn.constant() {value = dense_resource<"w">} : tensor<4x4x1x1xf32>'
    conv = "strides = [1, 1], pads = [0, 0, 0, 0], dilations = [1, 1], epilogue = [add]"
    text = f"""graph @g(%x: {T}) {{ {w}
      %a = prim.exp(%x) {{primitive = "p"}} : {T}
      %b = prim.exp(%x) {{primitive = "p"}} : {T}
      %c = prim.conv(%DATA, %w, %b) {{{conv}, primitive = "p"}} : {T}
      %d = prim.neg(%c) {{primitive = "p"}} : {T}
      return %d as "y" }}"""
    weights = {"w": np.ones((4, 4, 1, 1), np.float32)}
    apart = Memory().run(parse_graph(text.replace("%DATA", "%a"), weights))
    assert offsets(apart)[2] == offsets(apart)[1]
    both = Memory().run(parse_graph(text.replace("%DATA", "%b"), weights))
    assert offsets(both)[2] != offsets(both)[1], "its own input must survive"


def test_a_primitive_that_keeps_an_operand_has_its_result_elsewhere() -> None:
    body = (
        f"%a = prim.exp(%x) {{p}} : {T} %b = prim.exp(%x) {{p}} : {T} %c = prim.add(%a, %b) {{p KEEPS}} : {T}"
    )
    body += f' %d = prim.neg(%c) {{p}} : {T} return %d as "y"'
    for keeps, place in (("", 0), (", keeps = [0]", 1), (", keeps = [1]", 0), (", keeps = [0, 1]", None)):
        placed = Memory().run(graph(body.replace(" KEEPS", keeps)))
        a, b, c = (at for (at,) in offsets(placed)[:3])
        assert c == (a, b)[place] if place is not None else c not in (a, b)
        again = parse_graph(print_graph(placed)[0])
        assert again.operators[2].get("keeps", ()) == placed.operators[2].get("keeps", ())


def test_a_result_on_an_operand_that_is_kept_is_seen() -> None:
    text = PLAN_IN_PLACE
    check_placement(parse_graph(text))
    with pytest.raises(VerifyError, match="its result overlaps operand %a"):
        check_placement(parse_graph(text.replace('"p",', '"p", keeps = [0],')))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (f"%a = prim.exp(%x) {{p}} : {T} %b = prim.neg(%a) {{p}} : {T} "
         f"%c = prim.add(%a, %b) {{p}} : {T}", "read later"),
        (f"%a = prim.exp(%x) {{p}} : {T} %b = prim.transpose(%a) {{p, perm = [0, 1, 3, 2]}} : {T} "
         f"%c = prim.neg(%b) {{p}} : {T}", "not element-wise"),
        ("%a = prim.exp(%x) {p} : tensor<1x4x4x4xf32> "
         "%b = prim.cast(%a) {p, dtype = i32} : tensor<1x4x4x4xi32> "
         "%c = prim.neg(%b) {p} : tensor<1x4x4x4xi32>", "another type"),
        ("%a = prim.exp(%x) {p} : tensor<1x4x4x4xf32> %b = prim.neg(%a) {p} : tensor<1x4x4x4xf32, NCHW8c> "
         "%c = prim.neg(%b) {p} : tensor<1x4x4x4xf32, NCHW8c>", "another layout"),
    ],
)  # fmt: skip
def test_an_operand_is_not_overwritten_when_it_is(body: str, why: str) -> None:
    placed = Memory().run(graph(f'{body} return %c as "y"'))
    first, second = offsets(placed)[:2]
    assert first != second, why


def test_a_view_stays_in_its_operands_place_and_keeps_it_alive() -> None:
    placed = Memory().run(
        graph(f"""
      %a = prim.exp(%x) {{p}} : {T}
      %v = prim.reshape(%a) {{view, shape = [64]}} : tensor<64xf32>
      %b = prim.exp(%x) {{p}} : {T}
      %c = prim.neg(%b) {{p}} : {T}
      %d = prim.neg(%v) {{p}} : tensor<64xf32>
      %e = prim.neg(%d) {{p}} : tensor<64xf32>
      return %c as "c", %e as "e" """)
    )
    a, v, b, c, d, _ = offsets(placed)
    assert v == a == d
    assert b != a
    assert c == (-1,)


@pytest.mark.parametrize(
    "body",
    [
        'return %x as "y"',
        f'%a = prim.exp(%x) {{p}} : {T} return %a as "y", %a as "z"',
        '%c = nn.constant() {value = dense<2xf32: [1.0, 2.0]>} : tensor<2xf32> return %c as "y"',
    ],
)
def test_an_output_without_a_writer_of_its_own_gets_a_copy(body: str) -> None:
    placed = Memory().run(graph(body))
    verify(placed, PLACED)
    assert names(placed)[-1] == "prim.reshape"
    assert len(set(placed.outputs)) == len(placed.outputs)
    given = inputs(placed)
    want = run(graph(body), given)
    assert all(np.array_equal(array, want[n]) for n, array in Machine(placed, given).run().items())


def test_a_view_of_a_callers_buffer_has_a_place_of_its_own() -> None:
    placed = Memory().run(
        graph(f"""
      %v = prim.reshape(%x) {{view, shape = [64]}} : tensor<64xf32>
      %a = prim.neg(%v) {{p}} : tensor<64xf32>
      %w = prim.reshape(%a) {{view, shape = [1, 4, 4, 4]}} : {T}
      return %w as "y" """)
    )
    assert offsets(placed) == [(0,), (0,), (-1,)]


def test_workspaces_share_the_arena_with_values() -> None:
    placed = Memory().run(
        graph(f"""
      %a = prim.exp(%x) {{p, workspace = 1000}} : {T}
      %b = prim.transpose(%a) {{p, workspace = 10, perm = [0, 1, 3, 2]}} : {T}
      %c = prim.neg(%b) {{p, workspace = 500}} : {T}
      return %c as "y" """)
    )
    report = arena_report(placed)
    assert report.peak == report.lower_bound == 256 + 1024
    assert [r.size for r in report.ranges if r.name == "workspace"] == [1024, 64, 512]


def test_the_report_of_a_graph_that_was_not_placed() -> None:
    with pytest.raises(SecateurError, match="run the pass 'memory' first"):
        arena_report(graph(f'%a = prim.exp(%x) {{p}} : {T} return %a as "y"'))


# Wrong plans ------------------------------------------------------------------------------------------

PLAN = f"""
  %a = prim.exp(%x) {{p, offset = [A]}} : {T} loc("first")
  %b = prim.transpose(%a) {{p, perm = [0, 1, 3, 2], WORK, offset = [B]}} : {T} loc("second")
  %c = prim.concat(%a, %b) {{p, offset = [C], axis = 1}} : tensor<1x8x4x4xf32> loc("third")
  %d = prim.neg(%c) {{p, offset = [D]}} : tensor<1x8x4x4xf32> loc("fourth")
  return %d as "y" """


def plan(**places: int) -> Graph:
    text = PLAN.replace("WORK", "workspace = 100, workspace_offset = W")
    for name, offset in {"A": 0, "B": 256, "C": 512, "D": -1, "W": 512, **places}.items():
        text = re.sub(rf"offset = (\[?){name}\b", rf"offset = \g<1>{offset}", text)
    return graph(text)


def test_the_plan_that_the_wrong_ones_are_made_of_is_right() -> None:
    check_placement(plan())


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ({"B": 192}, "second.*its result overlaps operand %a"),
        ({"B": 0}, "second.*its result overlaps operand %a"),
        ({"C": 448}, "third.*its result overlaps operand %b"),
        ({"W": 128}, "second.*its workspace overlaps operand %a"),
        ({"W": 448}, "second.*its workspace overlaps its result"),
        ({"A": 32}, "first.*offset 32 is no multiple of 64"),
        ({"A": -1}, "first.*its result has no place"),
        ({"A": -64}, "first.*offset -64 is no multiple of 64"),
        ({"D": 1024}, "fourth.*a graph output must have no place in the arena"),
    ],
)
def test_a_wrong_plan_is_refused(places: dict[str, int], message: str) -> None:
    with pytest.raises(VerifyError, match=message):
        check_placement(plan(**places))


def test_a_value_overwritten_before_its_last_use_is_seen() -> None:
    with pytest.raises(VerifyError, match=r"(?s)last\): operand %a was overwritten.*-> %d"):
        check_placement(
            graph(f"""
          %a = prim.exp(%x) {{p, offset = [0]}} : {T}
          %b = prim.neg(%x) {{p, offset = [64]}} : {T}
          %c = prim.neg(%b) {{p, offset = [64]}} : {T}
          %d = prim.add(%a, %c) {{p, offset = [-1]}} : {T} loc("last")
          return %d as "y" """)
        )


def test_an_output_returned_twice_is_refused() -> None:
    with pytest.raises(VerifyError, match="output 'y' has no buffer of its own"):
        check_placement(graph(f'%a = prim.exp(%x) {{p, offset = [-1]}} : {T} return %a as "y", %a as "z"'))
