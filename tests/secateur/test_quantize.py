"""The digits network in 8 bits, compiled and run: how many digits it still knows, and what is refused."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import secateur
from secateur.codegen.targets.find import find
from secateur.compiler import prepare, read
from secateur.ir.interpreter import run
from secateur.passes.framework.manager import PassManager
from secateur.quantizer import Request

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "digits"
MODEL = EXAMPLE / "resnet20.onnx"
FEW = 12


def digits() -> Any:
    spec = importlib.util.spec_from_file_location("digits_data", EXAMPLE / "data.py")
    assert spec is not None
    assert spec.loader is not None
    data = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(data)
    return data


DATA = digits()
HELD_OUT = DATA.load_heldout()
IMAGES = DATA.network_input(HELD_OUT.images).astype(np.float32)
CALIBRATION = DATA.network_input(np.load(EXAMPLE / "calibration.npz")["images"]).astype(np.float32)


def calibration(count: int = FEW) -> list[dict[str, Any]]:
    return [{"image": image[None]} for image in CALIBRATION[:count]]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> secateur.Artifact:
    path = tmp_path_factory.mktemp("digits") / "digits.so"
    return secateur.compile(MODEL, path, quantize="int8", calibration=calibration(32), layers="all")


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


def test_the_artifact_is_the_interpreters_to_the_bit(artifact: secateur.Artifact) -> None:
    quantize = "canonicalize,fuse,quantize{layers=all}"
    passes = prepare(quantize, find("host"), data=Request(calibration(32)).data(read(MODEL)))
    graph = PassManager(passes).run(read(MODEL)).graph
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
    made = secateur.compile(
        MODEL, tmp_path / "a.so", quantize="int8", calibration=calibration(), winograd="off", method="entropy"
    )
    assert made.manifest["pipeline"] == (
        "canonicalize,fuse,quantize{method=entropy,winograd=off},select,layout,memory"
    )
    again = secateur.compile(
        MODEL, tmp_path / "b.so", quantize="int8", calibration=calibration(), winograd="off", method="entropy"
    )
    assert made.path.read_bytes() == again.path.read_bytes()


def test_quantize_writes_what_onnx_runtime_runs(tmp_path: Path) -> None:
    path = tmp_path / "digits.int8.onnx"
    report = secateur.quantize(MODEL, path, calibration=calibration(), reduce_range=True)
    assert report.sqnr > 25
    onnx.checker.check_model(onnx.load(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    real = onnxruntime.InferenceSession(str(MODEL), providers=["CPUExecutionProvider"])
    for image in IMAGES[:4]:
        got, wanted = (s.run(None, {"image": image[None]})[0] for s in (session, real))
        assert np.square(got - wanted).sum() < 1e-2 * np.square(wanted).sum()


def test_an_sqnr_is_for_the_quantization_and_what_is_forbidden_for_the_selection(tmp_path: Path) -> None:
    artifact = secateur.compile(
        MODEL, tmp_path / "q.so", quantize="int8", calibration=calibration(2), min_sqnr=5, without="kn2row"
    )
    assert artifact.quantization is not None
    assert artifact.quantization.sqnr >= 5
    assert "quantize{min_sqnr=5.0},select{without=kn2row}" in artifact.manifest["pipeline"]


# Refusals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantize": "int4"}, "unknown quantization 'int4'; known: int8"),
        ({"quantize": "int8"}, "needs calibration data"),
        ({"layer_sqnr": 30.0}, "layer_sqnr given without quantize='int8'"),
        ({"quantize": "int8", "calibration": "random:2", "min_snr": 3}, "did you mean 'min_sqnr'"),
        ({"quantize": "int8", "calibration": "nowhere.npz"}, "nowhere.npz"),
        ({"quantize": "int8", "calibration": "random:2", "method": "best"}, "unknown method 'best'"),
        ({"quantize": "int8", "calibration": "random:2", "winograd": "3"}, "unknown winograd '3'"),
    ],
)
def test_requests_that_are_none(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(secateur.SecateurError, match=message):
        secateur.compile(MODEL, tmp_path / "x.so", **options)
    assert not list(tmp_path.iterdir())


def test_a_limit_that_cannot_be_kept_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(secateur.SecateurError, match="cannot be kept"):
        secateur.quantize(MODEL, tmp_path / "x.onnx", calibration=calibration(2), min_sqnr=500)
    assert not list(tmp_path.iterdir())
