"""`strict`: what is not finite stays where it belongs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import secateur
from secateur import Limits
from secateur.codegen.backends.cpu.costs import AnalyticCosts
from secateur.codegen.targets.rows import TARGETS
from secateur.ir.errors import SecateurError
from secateur.ir.interpreter import run
from secateur.model import read
from secateur.passes.framework.manager import PassManager
from secateur.passes.select.select import Select
from tests.passes.texts import body, build

CONV = "tensor<1x16x24x24xf32>"
PLAIN = body(
    CONV, f'%w = const : tensor<16x16x3x3xf32> %y = nn.conv(%x, %w) {{SAME}} : {CONV} return %y as "y"'
)
GROUPED = body(
    CONV,
    f'%w = const : tensor<16x2x3x3xf32> %y = nn.conv(%x, %w) {{SAME, groups = 8}} : {CONV} return %y as "y"',
)


def chosen(text: str, strict: bool) -> str:
    """The primitive of the only operator, on AVX2."""
    passes = (Select(costs=AnalyticCosts(TARGETS["x86-64-v3"]), strict=strict),)
    graph = PassManager(passes).run(build(text)).graph
    return next(str(op["primitive"]) for op in graph.operators if op.name != "nn.constant")


def test_strict_chooses_neither_winograd_nor_shared_vectors() -> None:
    assert chosen(PLAIN, strict=False).startswith("winograd")
    assert chosen(GROUPED, strict=False) == "grouped"
    assert not chosen(PLAIN, strict=True).startswith("winograd")
    assert chosen(GROUPED, strict=True) != "grouped"


@pytest.mark.parametrize("text", [PLAIN, GROUPED])
def test_an_infinite_pixel_spoils_what_depends_on_it_alone(text: str, tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((1, 16, 24, 24)).astype(np.float32)
    x[0, 3, 10, 10] = np.inf
    graph = build(text)
    with np.errstate(all="ignore"):
        wanted = run(graph, {"x": x, "z": x})["y"]
    artifact = secateur.compile(graph, tmp_path / "m.so", limits=Limits(strict=True))
    with secateur.load(artifact.path) as session:
        found = session.run({"x": x, "z": x})["y"]
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(wanted))
    assert not np.isfinite(found).all()


@pytest.mark.parametrize(("bad", "told"), [(np.nan, "1 NaN"), (np.inf, "1 infinities")])
def test_weights_that_are_not_finite_are_refused_under_padding(bad: float, told: str) -> None:
    refused, kept = build(PLAIN), build(_valid())
    for graph in (refused, kept):
        next(op for op in graph.operators if op.name == "nn.constant")["value"][0, 0, 0, 0] = bad
    manager = PassManager((Select(costs=AnalyticCosts(TARGETS["x86-64-v3"]), strict=True),))
    with pytest.raises(SecateurError, match=f"its weights hold {told}"):
        manager.run(refused)
    manager.run(kept)


def _valid() -> str:
    out = "tensor<1x16x22x22xf32>"
    window = "strides = [1, 1], pads = [0, 0, 0, 0], dilations = [1, 1]"
    text = f'%w = const : tensor<16x16x3x3xf32> %y = nn.conv(%x, %w) {{{window}}} : {out} return %y as "y"'
    return body(CONV, text)


@pytest.mark.parametrize("c", [np.inf, np.nan])
def test_a_gemm_of_beta_zero_has_no_addend(c: float, tmp_path: Path) -> None:
    known = {"b": np.ones((4, 5), np.float32), "c": np.full(5, c, np.float32)}
    node = helper.make_node("Gemm", ["a", "b", "c"], ["y"], beta=0.0)
    a = helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, (3, 4))
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (3, 5))
    graph = helper.make_graph(
        [node], "g", [a], [y], [numpy_helper.from_array(v, k) for k, v in known.items()]
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        tmp_path / "m.onnx",
    )
    found = run(read(tmp_path / "m.onnx"), {"a": np.ones((3, 4), np.float32)})["y"]
    assert found.tolist() == [[4.0] * 5] * 3
