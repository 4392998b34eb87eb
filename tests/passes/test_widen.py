"""Models in binary16 or 64-bit floats compute in float32, fuse and quantize."""

from __future__ import annotations

import numpy as np
import pytest

import secateur
from secateur import Fp16, Int8, Limits
from secateur.codegen.targets.find import find
from secateur.ir.errors import ModelNote
from secateur.ir.graph import Graph
from secateur.ir.interpreter import run
from secateur.ir.parser import parse_graph
from secateur.ir.types import DType
from secateur.passes.framework.manager import PassManager
from secateur.passes.framework.pipeline import parse_pipeline
from secateur.passes.widen import is_narrow
from secateur.pipeline import in_float32, pipeline_of
from secateur.tools.checks.layers import usual_rtol

TEXT = """
graph @g(%x: tensor<1x2x4x4xf16>, %t: tensor<1x2x4x4xf32>) {
  %w = nn.constant() {value = dense<2x2x1x1xf16: [0.5, -1.5, 2.0, 0.25]>} : tensor<2x2x1x1xf16>
  %n = nn.cast(%t) {dtype = f16} : tensor<1x2x4x4xf16>
  %s = nn.add(%x, %n) : tensor<1x2x4x4xf16>
  %c = nn.conv(%s, %w) {strides = [1, 1], pads = [0, 0, 0, 0], dilations = [1, 1]} : tensor<1x2x4x4xf16>
  %r = nn.relu(%c) : tensor<1x2x4x4xf16>
  %y = nn.cast(%r) {dtype = f32} : tensor<1x2x4x4xf32>
  return %r as "half", %y as "y", %x as "x"
}
"""


def graph() -> Graph:
    return parse_graph(TEXT)


def inputs() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "x": random.standard_normal((1, 2, 4, 4)).astype(np.float16),
        "t": random.standard_normal((1, 2, 4, 4)).astype(np.float32),
    }


def test_nothing_between_the_ends_is_binary16_and_the_answers_stay() -> None:
    steps = parse_pipeline(in_float32(graph(), "canonicalize,fuse"))
    fused = PassManager(steps, inputs=inputs()).run(graph()).graph
    halves = [op.name for op in fused.operators for v in op.results if v.type.dtype == DType.F16]
    assert halves == ["nn.cast"]
    assert [v.type.dtype for v in fused.outputs] == [DType.F16, DType.F32, DType.F16]
    (conv,) = (op for op in fused.operators if op.name == "nn.conv")
    assert [step.op for step in conv["epilogue"]] == ["relu"]
    assert all(v.type.dtype == DType.F32 for v in conv.operands)
    wanted, found = run(graph(), inputs()), run(fused, inputs())
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, atol=2**-8)
        assert found[name].dtype == array.dtype


@pytest.mark.parametrize("target", ["host", "rpi4", "jetson-nano"])
def test_only_what_is_in_binary16_is_widened(target: str) -> None:
    def begins(model: Graph) -> str:
        return pipeline_of(model, find(target), None, Limits(), None).split(",")[0]

    wide = PassManager(parse_pipeline("widen")).run(graph()).graph
    plain = parse_graph(TEXT.replace("f16", "f32"))
    assert (begins(graph()), begins(plain)) == ("widen", "canonicalize")
    assert (is_narrow(wide), usual_rtol(wide)) == (True, 8 * 2**-10)
    assert (is_narrow(plain), usual_rtol(plain)) == (False, 1e-4)


def test_a_model_in_binary16_quantizes() -> None:
    report = secateur.quantize(graph(), Int8([inputs()], layers="all"))
    assert "q.linear_conv" in [row.operator for row in report.rows]


DOUBLES = TEXT.replace("f16", "f64")


def doubles() -> Graph:
    return parse_graph(DOUBLES)


def of_doubles() -> dict[str, np.ndarray]:
    return {**inputs(), "x": inputs()["x"].astype(np.float64)}


def test_doubles_are_float32_between_the_ends() -> None:
    steps = parse_pipeline(in_float32(doubles(), "canonicalize,fuse"))
    assert steps[0].name == "narrow"
    fused = PassManager(steps, inputs=of_doubles()).run(doubles()).graph
    (conv,) = (op for op in fused.operators if op.name == "nn.conv")
    assert [step.op for step in conv["epilogue"]] == ["relu"]
    assert [v.type.dtype for v in fused.outputs] == [DType.F64, DType.F32, DType.F64]
    wanted, found = run(doubles(), of_doubles()), run(fused, of_doubles())
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, atol=1e-5)


def test_doubles_stay_where_nobody_asks_for_fewer_bits() -> None:
    with pytest.warns(ModelNote, match="convolutions compute in 64-bit floats"):
        text = pipeline_of(doubles(), find("host"), None, Limits(), None)
    assert text.split(",")[0] == "canonicalize"
    assert pipeline_of(doubles(), find("host"), None, Limits(), Int8("random:1")).startswith("narrow,")
    half = pipeline_of(doubles(), find("rpi5"), None, Limits(), None, precision=Fp16())
    assert half.startswith("narrow,")


def test_arithmetic_of_places_stays_in_doubles() -> None:
    text = """graph @g(%x: tensor<2x2xf32>) {
      %d = nn.cast(%x) {dtype = f64} : tensor<2x2xf64>
      %y = nn.floor(%d) : tensor<2x2xf64>
      return %y as "y"
    }"""
    assert in_float32(parse_graph(text), "canonicalize") == "canonicalize"


def test_a_model_in_doubles_quantizes() -> None:
    report = secateur.quantize(doubles(), Int8([of_doubles()], layers="all"))
    assert "q.linear_conv" in [row.operator for row in report.rows]


def test_the_largest_double_does_not_become_infinite() -> None:
    text = DOUBLES.replace("0.5, -1.5", "-1.7e+308, -1.5")
    steps = parse_pipeline("narrow")
    narrow = PassManager(steps).run(parse_graph(text)).graph
    found = run(
        narrow, {**of_doubles(), "x": np.zeros((1, 2, 4, 4)), "t": np.zeros((1, 2, 4, 4), np.float32)}
    )
    assert np.isfinite(found["y"]).all()
