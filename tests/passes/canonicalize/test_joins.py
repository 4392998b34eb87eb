"""Concatenations that cost nothing: parts computed where the joined tensor wants them."""

from __future__ import annotations

import pytest

from secateur.ir.errors import VerifyError
from secateur.ir.graph import Graph
from secateur.ir.parser import parse_graph
from secateur.passes.memory.memory import Memory, arena_report
from secateur.passes.memory.placement import check_placement, place_of, stays_in_place

PLAIN = 'primitive = "map", operand_layouts = ["NCHW"]'
JOIN = 'primitive = "join", operand_layouts = ["NCHW", "NCHW"]'


def placed(body: str) -> Graph:
    text = f"graph @g(%x: tensor<1x16x4x4xf32>) {{\n{body}\n}}"
    return Memory().run(parse_graph(text.replace("PLAIN", PLAIN).replace("JOIN", JOIN)))


INCEPTION = """
  %a = prim.relu(%x) {PLAIN} : tensor<1x16x4x4xf32>
  %b = prim.exp(%x) {PLAIN} : tensor<1x16x4x4xf32>
  %c = prim.concat(%a, %b) {axis = 1, JOIN} : tensor<1x32x4x4xf32>
  %y = prim.exp(%c) {PLAIN} : tensor<1x32x4x4xf32>
  return %y as "y"
"""


def test_parts_are_computed_inside_the_joined_tensor() -> None:
    graph = placed(INCEPTION)
    a, b, c = (op.result for op in graph.operators[:3])
    assert [place_of(v).low - place_of(c).low for v in (a, b)] == [0, 1024]  # type: ignore[union-attr]
    assert stays_in_place(graph.operators[2])
    assert arena_report(graph).peak == 2048


def test_joins_of_joins_share_one_buffer() -> None:
    graph = placed("""
      %a = prim.relu(%x) {PLAIN} : tensor<1x16x4x4xf32>
      %b = prim.exp(%a) {PLAIN} : tensor<1x16x4x4xf32>
      %ab = prim.concat(%a, %b) {axis = 1, JOIN} : tensor<1x32x4x4xf32>
      %c = prim.exp(%b) {PLAIN} : tensor<1x16x4x4xf32>
      %abc = prim.concat(%ab, %c) {axis = 1, JOIN} : tensor<1x48x4x4xf32>
      %y = prim.exp(%abc) {PLAIN} : tensor<1x48x4x4xf32>
      return %y as "y"
    """)
    assert all(stays_in_place(op) for op in graph.operators if op.name == "prim.concat")
    assert arena_report(graph).peak == 48 * 64


@pytest.mark.parametrize("second", ["%x", "%z"])
def test_an_operand_outside_the_arena_is_copied(second: str) -> None:
    graph = placed(f"""
      %a = prim.relu(%x) {{PLAIN}} : tensor<1x16x4x4xf32>
      %z = prim.exp(%x) {{PLAIN}} : tensor<1x16x4x4xf32>
      %c = prim.concat(%a, {second}) {{axis = 1, JOIN}} : tensor<1x32x4x4xf32>
      %y = prim.exp(%c) {{PLAIN}} : tensor<1x32x4x4xf32>
      return %y as "y", %z as "z"
    """)
    assert not any(stays_in_place(op) for op in graph.operators)


def test_a_value_wanted_at_two_places_is_copied_once() -> None:
    graph = placed("""
      %a = prim.relu(%x) {PLAIN} : tensor<1x16x4x4xf32>
      %b = prim.exp(%x) {PLAIN} : tensor<1x16x4x4xf32>
      %c = prim.concat(%a, %b) {axis = 1, JOIN} : tensor<1x32x4x4xf32>
      %d = prim.concat(%b, %a) {axis = 1, JOIN} : tensor<1x32x4x4xf32>
      %y = prim.add(%c, %d) {primitive = "map", operand_layouts = ["NCHW", "NCHW"]} : tensor<1x32x4x4xf32>
      return %y as "y"
    """)
    assert [stays_in_place(op) for op in graph.operators[2:4]] == [True, False]


def test_a_part_that_is_overwritten_before_the_join_is_found_out() -> None:
    graph = placed(INCEPTION)
    first, second = graph.operators[:2]
    second.attributes["offset"] = first["offset"]
    with pytest.raises(VerifyError, match="overwritten"):
        check_placement(graph)
