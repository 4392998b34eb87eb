"""What is padded or sliced only to be added is added by the convolution where it is."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.codegen.backends.registry import backend_of
from secateur.codegen.targets.find import find
from secateur.ir import interpreter
from secateur.ir.bounds import bounds_of
from secateur.ir.graph import Array, Graph
from secateur.ir.onnx_reader.reader import read_model
from secateur.ir.onnx_writer import to_onnx
from secateur.ir.opdef import TypeRuleError
from secateur.ir.parser import parse_graph
from secateur.ir.registry import create
from secateur.passes.select.reaching import reach_where_possible

FLOATS = """
graph @"net"(%x: tensor<1x4x5x6xf32>, %y: tensor<1x{width}x5x6xf32>) {{
  %w = nn.constant() {{value = dense<16x4x1x1xf32: [{weights}]>}} : tensor<16x4x1x1xf32>
  %b = nn.constant() {{value = dense<1x16x1x1xf32: [{bias}]>}} : tensor<1x16x1x1xf32>
  %moved = {moved} : tensor<1x16x5x6xf32>
  %r = nn.conv(%x, %w, %b, %moved) {{strides = [1, 1], pads = [0, 0, 0, 0], dilations = [1, 1], epilogue = [add, {step}, relu]}} : tensor<1x16x5x6xf32>
  return %r as "r"{more}
}}
"""  # noqa: E501
PAD = "nn.pad(%y) {pads = [0, 0, 0, 0, 0, 8, 0, 0]}"
SLICE = "nn.slice(%y) {starts = [0, 16, 0, 0], sizes = [1, 16, 5, 6], steps = [1, 1, 1, 1]}"


def floats(width: int, moved: str, step: str = "add", more: str = "") -> Graph:
    weights, bias = (", ".join(str(n % 7 - 2.5) for n in range(count)) for count in (64, 16))
    given = {"width": width, "moved": moved, "step": step, "more": more}
    return parse_graph(FLOATS.format(weights=weights, bias=bias, **given))


def reached(graph: Graph, target: str = "x86-64-v3") -> Graph:
    row = find(target)
    return reach_where_possible(graph, backend_of(row).costs(row))


def answers(graph: Graph) -> list[Array]:
    random = np.random.default_rng(0)
    feeds = {v.name: random.normal(size=v.type.shape).astype(np.float32) for v in graph.inputs}
    return list(interpreter.run(graph, feeds).values())


@pytest.mark.parametrize(
    ("width", "moved", "reach"), [(8, PAD, (0, 0, 8)), (40, SLICE, (0, 16, 16))], ids=["pad", "slice"]
)
def test_the_convolution_adds_where_it_is(width: int, moved: str, reach: tuple[int, ...]) -> None:
    graph = floats(width, moved)
    found = reached(graph)
    (op,) = [op for op in found.operators if op.name != "nn.constant"]
    assert op["reach"] == reach
    assert answers(found)[0].tolist() == answers(graph)[0].tolist()
    assert len(graph.operators) == 4


@pytest.mark.parametrize(
    ("graph", "target"),
    [
        (floats(8, PAD), "jetson-nano"),
        (floats(8, PAD, "mul"), "x86-64-v3"),
        (floats(8, PAD, more=', %moved as "m"'), "x86-64-v3"),
        (floats(8, PAD.replace("]}", "], value = 1.0}")), "x86-64-v3"),
        (floats(24, SLICE.replace("0, 16, 0", "0, 4, 0")), "x86-64-v3"),
        (floats(16, SLICE.replace("0, 16, 0", "0, 0, 0")), "x86-64-v3"),
    ],
    ids=["no kernel", "product", "another use", "ones", "across blocks", "nothing moved"],
)
def test_others_stay(graph: Graph, target: str) -> None:
    assert len(reached(graph, target).operators) == len(graph.operators)


def test_it_can_be_written_and_read_as_onnx() -> None:
    found = reached(floats(40, SLICE))
    again = read_model(to_onnx(found))
    assert np.allclose(answers(again)[0], answers(found)[0])
    assert bounds_of(found.outputs[0]).low == 0.0


@pytest.mark.parametrize(
    ("reach", "why"),
    [
        ((0, 0), "count"),
        ((0, 0, 9), "does not reach"),
        ((12, 0, 8), "does not reach"),
        ((0, 4, 8), "not reach"),
    ],
)
def test_a_range_lies_in_both(reach: tuple[int, ...], why: str) -> None:
    op = next(op for op in reached(floats(8, PAD)).operators if op.name == "nn.conv")
    with pytest.raises(TypeRuleError, match=why):
        create("nn.conv", op.operands, {**op.attributes, "reach": reach})
