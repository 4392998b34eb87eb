"""The pass `half`: what computes in binary16, where casts stand, and what stays in float32."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from secateur.ir.graph import Graph
from secateur.ir.interpreter import run
from secateur.ir.parser import parse_graph
from secateur.ir.types import DType
from secateur.passes.framework.manager import PassManager
from secateur.passes.framework.pipeline import format_pipeline, parse_pipeline
from secateur.passes.half.half import Half
from secateur.passes.half.report import HalfReport
from secateur.passes.quantize.calibrate import CalibrationData

WINDOW = "strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1]"
POOL = "kernel = [2, 2], strides = [2, 2], pads = [0, 0, 0, 0], dilations = [1, 1]"
NETWORK = f"""graph @main(%x: tensor<1x3x8x8xf32>) {{
  %w = nn.constant() {{value = dense_resource<"w">}} : tensor<4x3x3x3xf32>
  %v = nn.constant() {{value = dense_resource<"v">}} : tensor<4x4x3x3xf32>
  %0 = nn.conv(%x, %w) {{{WINDOW}, epilogue = [relu]}} : tensor<1x4x8x8xf32> loc("first")
  %1 = nn.softmax(%0) {{axis = 1}} : tensor<1x4x8x8xf32> loc("soft")
  %2 = nn.conv(%1, %v) {{{WINDOW}}} : tensor<1x4x8x8xf32> loc("second")
  %3 = nn.max_pool(%2) {{{POOL}}} : tensor<1x4x4x4xf32>
  return %3 as "y"
}}
"""


def network(text: str = NETWORK, **weights: np.ndarray[Any, Any]) -> Graph:
    rng = np.random.default_rng(0)
    found = {"w": rng.standard_normal((4, 3, 3, 3)), "v": rng.standard_normal((4, 4, 3, 3)), **weights}
    return parse_graph(text, {name: array.astype(np.float32) for name, array in found.items()})


def image() -> dict[str, np.ndarray[Any, Any]]:
    return {"x": np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float32)}


PLAIN = Half()


def halved(graph: Graph, step: Half = PLAIN) -> tuple[Graph, HalfReport]:
    reports: list[HalfReport] = []
    taken = Half(sums=step.sums, keep_float=step.keep_float, data=step.data, listen=reports.append)
    return PassManager((taken,)).run(graph).graph, reports[0]


def types(graph: Graph) -> dict[str, str]:
    return {op.loc: op.result.type.dtype.value for op in graph.operators if op.loc and op.name != "nn.cast"}


def casts(graph: Graph) -> list[DType]:
    return [op["dtype"] for op in graph.operators if op.name == "nn.cast"]


def test_what_has_a_kernel_computes_in_binary16_between_casts() -> None:
    graph, report = halved(network())
    assert types(graph) == {"first": "f16", "soft": "f32", "second": "f16"}
    assert casts(graph) == [DType.F16, DType.F32, DType.F16, DType.F32]
    assert [op["sums"] for op in graph.operators if op.name == "nn.conv"] == [DType.F16] * 2
    assert (report.half, report.total, report.left) == (3, 4, ())
    assert [v.type.dtype for v in (*graph.inputs, *graph.outputs)] == [DType.F32] * 2


def test_the_answer_moves_by_roundings() -> None:
    before, inputs = run(network(), image())["y"], image()
    after = run(halved(network())[0], inputs)["y"]
    assert 0 < np.abs(before - after).max() < 0.004 * np.abs(before).max()


def test_weights_are_rounded_once() -> None:
    graph, _ = halved(network())
    (stored,) = (op["value"] for op in graph.operators if op.result.name == "w")
    np.testing.assert_array_equal(stored, network().operators[0]["value"].astype(np.float16))


@pytest.mark.parametrize(
    ("scale", "reason"), [(1e6, "a constant of .* is beyond 65504"), (1e-6, "too few bits in binary16")]
)
def test_weights_that_cannot_be_stored_keep_their_layer_in_float(scale: float, reason: str) -> None:
    weights = network().operators[0]["value"] * scale
    graph, report = halved(network(w=weights))
    assert types(graph)["first"] == "f32"
    assert [row.name for row in report.left] == ["first"]
    assert re.search(reason, report.left[0].reason)


def _data(scale: float) -> CalibrationData:
    def batches() -> Iterator[Mapping[str, np.ndarray[Any, Any]]]:
        yield {name: array * np.float32(scale) for name, array in image().items()}

    return CalibrationData(batches())


def test_values_that_may_overflow_keep_their_layer_in_float() -> None:
    graph, report = halved(network(), Half(data=_data(1e4)))
    assert types(graph) == {"first": "f32", "soft": "f32", "second": "f16"}
    assert "too little room below 65504" in report.left[0].reason
    assert "kept in float32: first (nn.conv)" in report.text
    graph, report = halved(network(), Half(data=_data(1.0)))
    assert types(graph)["first"] == "f16"
    assert report.left == ()


def test_named_layers_stay_in_float() -> None:
    graph, report = halved(network(), Half(keep_float=("second",)))
    assert types(graph) == {"first": "f16", "soft": "f32", "second": "f32"}
    assert casts(graph) == [DType.F16, DType.F32]
    assert report.left[0].reason == "it is kept in float32"


def test_what_stands_alone_gains_nothing() -> None:
    text = """graph @main(%x: tensor<1x4x2x2xf32>) {
  %0 = nn.relu(%x) : tensor<1x4x2x2xf32>
  return %0 as "y"
}
"""
    graph, report = halved(parse_graph(text))
    assert [op.name for op in graph.operators] == ["nn.relu"]
    assert report.half == 0


def test_the_pass_is_text() -> None:
    text = "half{sums=f32,keep_float=[first]}"
    steps = parse_pipeline(text)
    assert steps == parse_pipeline(format_pipeline(steps))
    assert isinstance(steps[0], Half)
    assert steps[0].sums == "f32"


def test_sums_of_float32_operands_are_float32() -> None:
    with pytest.raises(Exception, match="sums in f16 of f32 operands"):
        network(NETWORK.replace("epilogue = [relu]", "epilogue = [relu], sums = f16"))
