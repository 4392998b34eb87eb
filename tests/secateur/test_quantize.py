"""The digits network in 8 bits, compiled and run: how many digits it still knows, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import secateur
from secateur import Int8, Limits
from secateur.calibration import calibration_data
from secateur.codegen.targets.find import find
from secateur.ir.interpreter import run
from secateur.model import read
from secateur.passes.framework.manager import PassManager
from secateur.pipeline import quantize_step
from secateur.prepare import prepare
from secateur.tools.examples import EXAMPLES, example

from ..shorter import shorter

EXAMPLE = EXAMPLES / "digits"
MODEL = EXAMPLE / "resnet20.onnx"
FEW = 12


DATA: Any = example("digits")
HELD_OUT = DATA.load_heldout()
IMAGES = DATA.network_input(HELD_OUT.images).astype(np.float32)
CALIBRATION = DATA.network_input(np.load(EXAMPLE / "calibration.npz")["images"]).astype(np.float32)


def calibration(count: int = FEW) -> list[dict[str, Any]]:
    return [{"image": image[None]} for image in CALIBRATION[:count]]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> secateur.Artifact:
    path = tmp_path_factory.mktemp("digits") / "digits.so"
    return secateur.compile(MODEL, path, quantize=Int8(calibration(32), layers="all", winograd="2"))


def logits(path: Path) -> np.ndarray:
    with secateur.load(path) as session:
        return np.concatenate([session.run({"image": image[None]})["logits"] for image in IMAGES])


def right(found: np.ndarray) -> int:
    return int((found.argmax(axis=1) == HELD_OUT.labels).sum())


def test_full_int8_with_winograd_loses_at_most_a_third_of_a_point(
    artifact: secateur.Artifact, tmp_path: Path
) -> None:
    real = logits(secateur.compile(MODEL, tmp_path / "float.so").path)
    assert right(real) - right(logits(artifact.path)) <= 0.003 * len(IMAGES)


def test_the_artifact_is_the_interpreters_to_the_bit(tmp_path: Path) -> None:
    """Of a network with every kind of layer, in half the time."""
    model, options = shorter("digits"), Int8(calibration(), layers="all", winograd="2")
    artifact = secateur.compile(model, tmp_path / "digits.so", quantize=options)
    quantize = 'canonicalize,fuse,quantize{layers=all,winograd="2"}'
    passes = prepare(quantize, find("host"), data=calibration_data(options, read(model)))
    graph = PassManager(passes).run(read(model)).graph
    assert {"q.linear_conv", "q.winograd_conv"} <= {op.name for op in graph.operators}
    with secateur.load(artifact.path) as session:
        for image in IMAGES[:3]:
            got = session.run({"image": image[None]})["logits"]
            np.testing.assert_array_equal(got, run(graph, {"image": image[None]})["logits"])


def test_every_layer_keeps_its_sqnr(artifact: secateur.Artifact) -> None:
    report = artifact.quantization
    assert report is not None
    errors = [row.sqnr for row in report.rows if row.sqnr is not None]
    assert len(errors) == 22
    assert min(errors) >= 20
    assert any(row.tile for row in report.rows)
    assert report.sqnr > 20


def test_the_manifest_tells_the_options(tmp_path: Path) -> None:
    asked = Int8(calibration(), winograd="off", method="entropy")
    made = secateur.compile(shorter("digits"), tmp_path / "a.so", quantize=asked)
    assert made.manifest["pipeline"] == (
        "canonicalize,fuse,quantize{method=entropy,winograd=off},select,layout,memory"
    )
    again = secateur.compile(shorter("digits"), tmp_path / "b.so", quantize=asked)
    assert made.path.read_bytes() == again.path.read_bytes()


def test_quantize_writes_what_onnx_runtime_runs(tmp_path: Path) -> None:
    path = tmp_path / "digits.int8.onnx"
    report = secateur.quantize(MODEL, Int8(calibration(), reduce_range=True), path)
    assert report.sqnr > 25
    onnx.checker.check_model(onnx.load(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    real = onnxruntime.InferenceSession(str(MODEL), providers=["CPUExecutionProvider"])
    for image in IMAGES[:4]:
        got, wanted = (s.run(None, {"image": image[None]})[0] for s in (session, real))
        assert np.square(got - wanted).sum() < 1e-2 * np.square(wanted).sum()


def test_an_sqnr_is_for_the_quantization_and_what_is_forbidden_for_the_selection(tmp_path: Path) -> None:
    limits = Limits(min_sqnr=5, without="kn2row")
    quantize = Int8(calibration(2))
    artifact = secateur.compile(shorter("digits"), tmp_path / "q.so", limits=limits, quantize=quantize)
    assert artifact.quantization is not None
    assert artifact.quantization.sqnr >= 5
    assert "quantize{min_sqnr=5.0},select{without=kn2row}" in artifact.manifest["pipeline"]


# Refusals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"calibration": "random:2", "method": "best"}, "unknown method 'best'; known: minmax, percentile"),
        ({"calibration": "random:2", "winograd": "3"}, "unknown winograd '3'"),
        ({"calibration": "random:2", "images": 0}, "images must be 1 or more, is 0"),
        ({"calibration": "random:2", "max_drop": 101}, "max_drop 101: percentage points from 0 to 100"),
        ({"calibration": "random:2", "layer_sqnr": "20 dB"}, "layer_sqnr must be a number, is '20 dB'"),
    ],
)
def test_options_that_are_none(options: dict[str, Any], message: str) -> None:
    with pytest.raises(secateur.SecateurError, match=message):
        Int8(**options)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Int8("nowhere.npz"), "nowhere.npz"),
        ("int8", r"quantize is 'int8'; give Int8\(calibration\)"),
    ],
)
def test_requests_that_are_none(asked: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(secateur.SecateurError, match=message):
        secateur.compile(MODEL, tmp_path / "x.so", quantize=asked)
    assert not list(tmp_path.iterdir())


def test_a_limit_that_cannot_be_kept_leaves_no_file(tmp_path: Path) -> None:
    limits = Limits(min_sqnr=500)
    with pytest.raises(secateur.SecateurError, match="cannot be kept"):
        secateur.quantize(MODEL, Int8(calibration(2)), tmp_path / "x.onnx", limits=limits)
    assert not list(tmp_path.iterdir())


def test_limits_of_a_plan_are_none_of_a_quantized_model() -> None:
    with pytest.raises(secateur.SecateurError, match="only min_sqnr is for it"):
        secateur.quantize(MODEL, Int8("random:1"), limits=Limits(memory=1 << 20))


@pytest.mark.parametrize(
    ("target", "weights", "results"),
    [
        ("rpi4", "paired", "words"),
        ("rpi5", "domain", "words"),
        ("x86-64-v4-vnni", "domain", "floats"),
        ("jetson-orin", "domain", "floats"),
        ("edgetpu", "domain", "floats"),
    ],
)
def test_tiles_have_what_kernels_gain_by(target: str, weights: str, results: str) -> None:
    step = quantize_step(Int8(calibration(1)), target=find(target))
    assert (step.tile_weights, step.tile_results) == (weights, results)
