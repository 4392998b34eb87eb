"""Graphs on quantized tensors, written as QDQ: ONNX Runtime's answers, and what reading them back gives."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from secateur.ir.errors import ModelError
from secateur.ir.graph import Graph
from secateur.ir.interpreter import run
from secateur.ir.onnx_reader import read_model
from secateur.ir.onnx_writer import to_onnx
from secateur.ir.parser import parse_graph
from secateur.passes.canonicalize.canonicalize import Canonicalize
from secateur.passes.fuse.fuse import Fuse
from tests.onnx.models import Array, operators
from tests.onnx.test_quantized import residual_network, session, statically
from tests.passes.texts import Case, body, build, cases, expanded, inputs, steps, structure

X = "tensor<1x4x5x5xf32>"
CASES = cases("integer.rules")


def graph_of(text: str) -> Graph:
    return Canonicalize().run(build(body(X, expanded(text))))


def answers(proto: onnx.ModelProto, given: dict[str, Array]) -> dict[str, Array]:
    onnx.checker.check_model(proto, full_check=True)
    found = session(proto).run(None, given)
    return {o.name: np.asarray(a) for o, a in zip(proto.graph.output, found, strict=True)}


def read_back(graph: Graph) -> Graph:
    return Fuse().run(Canonicalize().run(read_model(to_onnx(graph))))


@pytest.mark.parametrize("part", ["before", "after"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_onnxruntime_is_within_one_step(case: Case, part: str) -> None:
    graph = graph_of(getattr(case, part))
    given = inputs(graph)
    assert steps(run(graph, given), answers(to_onnx(graph), given)) <= 1


def _hidden(case: Case) -> bool:
    """Whether an output comes from a table that is written as Gather: nothing says its quantization."""
    return re.search(r"%y = (q.table|nn.concat\(%u).*\nreturn", case.after) is not None


@pytest.mark.parametrize("case", [c for c in CASES if not _hidden(c)], ids=str)
def test_what_is_written_is_read_back(case: Case) -> None:
    graph = Fuse().run(graph_of(case.after))
    back = read_back(graph)
    assert operators(back) == operators(graph)
    assert structure(read_back(back)) == structure(back)  # in which scales are float32


@pytest.mark.parametrize("function", ["", "nn.sigmoid", "nn.hard_swish", "nn.silu", "nn.tanh"])
def test_tables_of_known_functions_are_written_as_these(function: str) -> None:
    middle = f"%f = {function}(%d) : {X}\n" if function else ""
    graph = Fuse().run(graph_of(f"""%q = bytes %x 1x4x5x5 0.05:125
%d = real %q 1x4x5x5
{middle}%y = bytes {"%f" if function else "%d"} 1x4x5x5 0.02:30
return %y as "y"
"""))  # fmt: skip
    assert operators(graph) == ["q.quantize", "q.table"]
    proto, given = to_onnx(graph), inputs(graph)
    assert "Gather" not in [node.op_type for node in proto.graph.node]
    assert steps(run(graph, given), answers(proto, given)) <= 1
    assert operators(read_back(graph)) == operators(graph)


def test_a_network_is_read_back_as_it_was(tmp_path: Path) -> None:
    quantized = statically(residual_network(), tmp_path, "qdq", "u8", True)
    graph = Fuse().run(Canonicalize().run(read_model(quantized)))
    back = read_back(graph)
    given = {"x": np.random.default_rng(9).standard_normal((1, 3, 8, 8)).astype(np.float32)}
    wanted, (got,) = run(graph, given)["y"], answers(to_onnx(graph), given).values()
    assert np.abs(wanted - got).max() <= 3 * np.ptp(wanted) / 255
    np.testing.assert_array_equal(run(back, given)["y"], wanted)
    assert operators(back) == operators(graph)


def test_winograd_has_no_form() -> None:
    text = """graph @g(%x: tensor<1x1x4x4xu8>) {
      %a = q.annotate(%x) {scales = [0.5], zero_points = [0]} : tensor<1x1x4x4xu8, quant<0.5:0>>
      %u = nn.constant() {value = dense_resource<"u">} : tensor<16x1x1xi8>
      %f = nn.constant() {value = dense_resource<"f">} : tensor<16x1xi16>
      %s = nn.constant() {value = dense_resource<"s">} : tensor<16x1xf32>
      %b = nn.constant() {value = dense_resource<"b">} : tensor<1xf32>
      %y = q.winograd_conv(%a, %u, %f, %s, %b) {tile = [2, 2], pads = [0, 0, 0, 0], dtype = f32}
        : tensor<1x1x2x2xf32>
      return %y as "y" }"""
    arrays: dict[str, Array] = {
        "u": np.ones((16, 1, 1), np.int8), "f": np.ones((16, 1), np.int16),
        "s": np.ones((16, 1), np.float32), "b": np.ones(1, np.float32),
    }  # fmt: skip
    with pytest.raises(ModelError, match=r"q\.winograd_conv .* no ONNX form; .* without Winograd"):
        to_onnx(parse_graph(text, arrays))
