"""Graphs wider, longer and denser than one kernel or one table can hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secateur.codegen.backends.cpu.costs import AnalyticCosts
from secateur.codegen.backends.cpu.primitives import PRIMITIVES
from secateur.codegen.decisions import check_decisions
from secateur.codegen.targets.rows import TARGETS
from secateur.ir.bounds import bounds_of
from secateur.ir.capacity import MOST_OPERANDS, MOST_WORK, excess, excess_of
from secateur.ir.elementwise import Step
from secateur.ir.errors import ModelError, SecateurError
from secateur.ir.graph import Graph
from secateur.ir.interpreter import run
from secateur.ir.onnx_reader import read_model
from secateur.ir.parser import parse_graph
from secateur.ir.verifier import verify
from secateur.passes.canonicalize.canonicalize import Canonicalize
from secateur.passes.canonicalize.joins import share_joins
from secateur.passes.fuse.fuse import Fuse
from secateur.passes.select.graphs import problem_of
from secateur.passes.select.solver import Solver
from secateur.tools.fuzz import checks, large

TARGET = TARGETS["x86-64-v3"]


def widths(graph: Graph) -> list[int]:
    return [len(op.operands) for op in graph.operators if op.name == "nn.concat"]


def same_answers(before: Graph, after: Graph, share: float = 0.0) -> None:
    inputs = checks.noise(before, 1)
    wanted, found = run(before, inputs), run(after, inputs)
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, rtol=share, atol=share)


# What one kernel holds -----------------------------------------------------------------------------


def test_an_operand_or_a_step_more_is_too_much() -> None:
    assert excess(MOST_OPERANDS, [Step("add")] * MOST_WORK) is None
    assert excess(MOST_OPERANDS + 1, []) == "65 operands, a kernel has at most 64"
    steps = [Step("tanh")] * 11
    assert excess(1, steps) == "11 steps of 264 vector operations, a kernel has at most 256"


@pytest.mark.parametrize(
    "model", [large.chain(300), large.chain(300, 3), large.scaled_sum(200)], ids=["chain", "fan-out", "sum"]
)
def test_fusion_stops_where_a_kernel_is_full(model: Any) -> None:
    before = read_model(model)
    after = Fuse().run(before.clone())
    verify(after)
    assert all(excess_of(op) is None for op in after.operators)
    assert len(after.operators) < len(before.operators)
    same_answers(before, after, 1e-5)


@pytest.mark.parametrize("count", [64, 65, 500])
def test_a_wide_concatenation_becomes_several(count: int) -> None:
    before = read_model(large.scaled_concat(count))
    after = Fuse().run(Canonicalize().run(before.clone()))
    verify(after)
    parts = widths(after)
    assert len(parts) == (1 if count <= MOST_OPERANDS else 1 + -(-count // MOST_OPERANDS))
    assert max(parts) <= MOST_OPERANDS
    same_answers(before, after)
    again = Canonicalize().run(after)
    assert sorted(widths(again)) == sorted(parts)  # and is not put together again


def test_equal_parts_are_joined_once() -> None:
    """500 times the same value: seven equal groups and a smaller one."""
    after = Fuse().run(Canonicalize().run(read_model(large.image_concat(500))))
    assert widths(after) == [63, 59, 8]
    same_answers(read_model(large.image_concat(500)), after)


def test_what_was_not_split_is_refused() -> None:
    graph = read_model(large.scaled_concat(65))
    wide = graph.operators[-1]
    with pytest.raises(ModelError, match=r"nn.concat \(ONNX node .*\): 65 operands.*'fuse' splits it"):
        AnalyticCosts(TARGET).choices(wide)


def test_a_decision_edited_by_hand_is_refused_too() -> None:
    steps = ", ".join(["tanh"] * 11)
    attributes = f'epilogue = [{steps}], primitive = "elementwise", operand_layouts = ["NCHW"], offset = [-1]'
    graph = parse_graph(
        f"graph @g(%x: tensor<4xf32>) {{\n  %y = prim.map(%x) {{{attributes}}} : tensor<4xf32>\n"
        '  return %y as "y"\n}\n'
    )
    with pytest.raises(SecateurError, match="11 steps of 264 vector operations"):
        check_decisions(graph, TARGET, PRIMITIVES)


# Concatenations of everything ----------------------------------------------------------------------


def test_a_dense_block_joins_pairs() -> None:
    before = read_model(large.dense_block(20))
    after = Canonicalize().run(before.clone())
    assert widths(before) == list(range(1, 22))
    assert widths(after) == [2] * 20
    same_answers(before, after)


def joined(body: str) -> list[list[str]]:
    """The operands of each concatenation after sharing, by name."""
    graph = parse_graph(
        "graph @g(%a: tensor<1x2xf32>, %b: tensor<1x2xf32>, %c: tensor<1x2xf32>) {\n"
        + "".join(f"  {line.strip()}\n" for line in body.strip().splitlines())
        + "}\n"
    )
    before = graph.clone()
    share_joins(graph)
    verify(graph)
    same_answers(before, graph)
    return [[v.name for v in op.operands] for op in graph.operators if op.name == "nn.concat"]


AB = "%ab = nn.concat(%a, %b) {axis = 1} : tensor<1x4xf32>"
BC = "%bc = nn.concat(%b, %c) {axis = -1} : tensor<1x4xf32>"
ABC = "%abc = nn.concat(%a, %b, %c) {axis = 1} : tensor<1x6xf32>"
RETURN = 'return %{} as "p", %abc as "q"'


def test_a_beginning_and_an_end_are_shared() -> None:
    assert joined(f"{AB}\n{ABC}\n{RETURN.format('ab')}") == [["a", "b"], ["ab", "c"]]
    assert joined(f"{BC}\n{ABC}\n{RETURN.format('bc')}") == [["b", "c"], ["a", "bc"]]


def test_a_part_that_is_read_later_on_keeps_its_concatenations_apart() -> None:
    """The inner result would be alive beside it."""
    body = f"{AB}\n{ABC}\n%r = nn.relu(%a) : tensor<1x2xf32>\n"
    text = body + 'return %ab as "p", %abc as "q", %r as "r"'
    assert joined(text) == [["a", "b"], ["a", "b", "c"]]


def test_another_axis_is_another_concatenation() -> None:
    other = "%ab = nn.concat(%a, %b) {axis = 0} : tensor<2x2xf32>"
    assert joined(f"{other}\n{ABC}\n{RETURN.format('ab')}") == [["a", "b"], ["a", "b", "c"]]


@pytest.mark.parametrize("layers", [16, 40])
def test_a_dense_block_is_selected_exactly_even_unshared(layers: int) -> None:
    """Each value is read by all concatenations behind it; a variable for each would need 2^layers entries."""
    graph = Fuse().run(read_model(large.dense_block(layers)))
    found = Solver(problem_of(graph, AnalyticCosts(TARGET)).problem).fastest()
    assert (found.doubt, found.bound) == ("", found.costs.seconds)


def test_a_long_way_back_does_not_end_in_recursion() -> None:
    window = "kernel = [1, 1], strides = [1, 1], pads = [0, 0, 0, 0], dilations = [1, 1]"
    text = "".join(
        f"  %v{i + 1} = nn.max_pool(%v{i}) {{{window}}} : tensor<1x1x2x2xf32>\n" for i in range(3000)
    )
    start = "  %v0 = nn.relu(%x) : tensor<1x1x2x2xf32>\n"
    graph = parse_graph(f'graph @g(%x: tensor<1x1x2x2xf32>) {{\n{start}{text}  return %v3000 as "y"\n}}\n')
    assert bounds_of(graph.outputs[0]).low == 0.0


def test_random_fan_out_too_wide_for_elimination_is_answered_with_a_bound() -> None:
    """Each of 70 operands may be kept or dropped: the search ends by its work, not by its edges."""
    graph = Fuse().run(Canonicalize().run(read_model(large.fan_out(2, 300))))
    found = Solver(problem_of(graph, AnalyticCosts(TARGET)).problem).fastest()
    assert "is reached in too many combinations of live layouts" in found.doubt
    assert found.bound <= found.costs.seconds < 2 * found.bound
