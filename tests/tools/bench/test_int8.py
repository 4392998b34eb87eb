"""The int8 benchmark: its inputs, its race, and the rows made of it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from secateur.tools.bench import data as bench_data
from secateur.tools.bench import int8 as bench_int8
from secateur.tools.bench import models
from secateur.tools.bench.contest import Contest, Entry
from secateur.tools.bench.data import Inputs, smooth_noise
from secateur.tools.bench.int8 import rivals_sqnr, sqnr
from secateur.tools.bench.model_builder import GraphBuilder
from secateur.tools.bench.peers import PEERS, Int8, PeerError, engine
from secateur.tools.bench.report import OURS, Row, Timing, as_markdown, notes
from secateur.tools.bench.worker import Sample, Worker

ABOUT = {"cpu": "a processor", "cores": 2, "versions": {"openvino": "1"}}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save("resnet20", tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def inputs(model: Path) -> Inputs:
    return bench_data.inputs("resnet20", model)


# ---- inputs


def test_smooth_noise_is_normalized_correlated_and_seeded() -> None:
    x = smooth_noise((2, 3, 32, 32), seed=5)
    assert x.dtype == np.float32
    assert np.allclose(x.mean(axis=(2, 3)), 0, atol=1e-5)
    assert np.allclose(x.std(axis=(2, 3)), 1, atol=1e-5)
    assert (x[..., 1:] * x[..., :-1]).mean() > 0.6
    assert np.array_equal(x, smooth_noise((2, 3, 32, 32), seed=5))
    assert not np.array_equal(x, smooth_noise((2, 3, 32, 32), seed=6))


def test_inputs_measured_on_are_not_those_calibrated_on(inputs: Inputs) -> None:
    samples = Int8(inputs.calibration, "").samples()
    assert len(samples) == bench_data.CALIBRATION_SAMPLES
    assert {name for sample in samples for name in sample} == {"input"}
    assert {x.shape for sample in samples for x in sample.values()} == {(1, 3, 32, 32)}
    assert all(x.shape == (1, 3, 32, 32) for x in inputs.held_out)
    assert not any(np.array_equal(s["input"], x) for s in samples for x in inputs.held_out)


def test_quantized_models_are_kept_apart_by_network(tmp_path: Path) -> None:
    """A network of the same name and other weights must not find the quantized models of this one."""
    path = tmp_path / "net.onnx"
    folders = set()
    for seed in (0, 1):
        path.write_bytes(models.build("resnet20", seed).SerializeToString())
        folders.add(bench_data.inputs("resnet20", path).calibration.parent)
    assert len(folders) == 2


def test_trained_network_sees_digits(tmp_path: Path) -> None:
    path = bench_data.network(bench_data.TRAINED, tmp_path)
    given = bench_data.inputs(bench_data.TRAINED, path)
    samples = Int8(given.calibration, "").samples()
    assert len(samples) == 200
    assert set(samples[0]) == {"image"}
    assert len(given.held_out) == bench_data.TRAINED_HELD_OUT


def test_compiled_networks_of_earlier_runs_are_removed_and_those_of_peers_kept(
    model: Path, inputs: Inputs
) -> None:
    kept, gone = (inputs.calibration.with_name(name) for name in ("net.qdq-u9.onnx", "net.fast.so"))
    kept.touch()
    gone.touch()
    bench_data.inputs("resnet20", model)
    assert kept.exists()
    assert not gone.exists()


# ---- distance


def test_sqnr_is_in_decibel() -> None:
    expected = np.array([3.0, -4.0], np.float32)
    assert sqnr(expected + np.array([0.5, 0], np.float32), expected) == pytest.approx(20.0)
    assert sqnr(expected, expected) == float("inf")
    assert sqnr(np.array([3.0, np.nan], np.float32), expected) == float("-inf")
    assert sqnr(expected[:1], expected) == float("-inf")


# ---- engines


@pytest.mark.parametrize(
    ("name", "variant"), [(name, variant) for name in PEERS for variant in engine(name).variants]
)
def test_peers_in_int8_are_near_float_and_not_equal(
    name: str, variant: str, model: Path, inputs: Inputs, tmp_path: Path
) -> None:
    missing = engine(name).missing(variant)
    if missing:
        pytest.skip(f"needs: pip install {' '.join(missing)}")
    x = inputs.held_out[0]
    expected = engine("onnxruntime").prepare(model, 1).run(x)
    with Worker(name, model, 1, tmp_path / "log", Int8(inputs.calibration, variant)) as process:
        process.prepare()
        assert 15 < sqnr(process.output(x), expected) < 60


def test_engine_without_int8_says_why(model: Path, inputs: Inputs) -> None:
    with pytest.raises(PeerError, match="its wheel comes without the quantizer"):
        engine("ncnn").prepare_int8(model, 1, Int8(inputs.calibration, ""))


def test_variants_ask_for_what_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine("openvino"), "int8_modules", {"nncf": {"no_such_module_at_all": "nncf"}})
    assert engine("openvino").missing("nncf")[-1:] == ["nncf"]
    assert "nncf" not in engine("openvino").missing("qdq")


# ---- race


class Quick:
    """Stands for a worker: answers at once, in a given time and with a given error."""

    speeds: ClassVar = {"u8": 0.002, "s8": 0.005, "accurate": 0.0015, "fast": 0.001}

    def __init__(self, _name: str, _model: Path, _threads: int, _log: Path, int8: Int8 | None = None) -> None:
        self.int8 = int8

    def __enter__(self) -> Quick:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def prepare(self) -> float:
        if self.int8 and not self.int8.variant:
            raise PeerError("no int8")
        wanted = pytest.approx(20.0 + bench_int8.MARGIN)
        if self.int8 and self.int8.variant == "accurate" and self.int8.min_sqnr != wanted:
            raise PeerError(f"asked for {self.int8.min_sqnr}")
        return 1.0

    def output(self, x: np.ndarray) -> np.ndarray:
        return x * np.float32(0.9) if self.int8 else x

    def burst(self, _seconds: float, runs: int) -> list[Sample]:
        assert self.int8 is not None
        return [Sample(self.speeds[self.int8.variant], 0.0)] * runs

    def close(self) -> None:
        self.int8 = None


def test_race_gives_a_row_for_each_mode(model: Path, inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slower variant leaves after the heat, and Secateur is asked for the fastest peer's SQNR."""
    monkeypatch.setattr("secateur.tools.bench.contest.Worker", Quick)
    monkeypatch.setattr(type(engine("ncnn")), "missing", lambda *_: [])
    rows = bench_int8.measure("resnet20", model, inputs, 1, ["onnxruntime", "ncnn"], rounds=1, budget=0.0)
    assert [row.mode for row in rows] == ["accurate", "fast"]
    for row, ratio in zip(rows, (2 / 1.5, 2.0), strict=True):
        assert row.ratio == pytest.approx(ratio)
        assert [t.engine for t in row.timings] == [OURS, "onnxruntime", "ncnn"]
        assert [t.variant for t in row.heat] == ["", "u8", "s8"]
        assert row.heat[0].reason == row.timings[2].reason == "no int8"
        assert row.fastest_peer is not None
        assert row.fastest_peer.variant == "u8"
        assert row.fastest_peer.sqnr == pytest.approx(20.0)


def test_secateur_is_asked_for_what_any_rival_keeps() -> None:
    near, far = Timing("a", median=2.0, sqnr=30.0), Timing("b", median=5.0, sqnr=60.0)
    better, out = Timing("a", "other", median=2.4, sqnr=33.0), Timing("c", reason="no int8")
    assert rivals_sqnr((near, far, better, out)) == 33.0
    assert rivals_sqnr((near, far, out)) == 30.0
    assert rivals_sqnr((out,)) is None


def test_secateur_takes_part(tmp_path: Path) -> None:
    """In workers, as the benchmark runs it, with the peer's SQNR asked for."""
    g = GraphBuilder("tiny", (1, 3, 8, 8), seed=0)
    y = g.relu(g.conv(g.relu(g.conv(g.input, "a", 16, 3, pad=1), "ra"), "b", 16, 3, pad=1), "rb")
    path = tmp_path / "tiny.onnx"
    path.write_bytes(g.finish(y).SerializeToString())
    given = bench_data.inputs("tiny", path)
    accurate, fast = bench_int8.measure("tiny", path, given, 1, ["onnxruntime"], rounds=1, budget=0.0)
    for row in (accurate, fast):
        ours = row.timings[0]
        assert ours.reason == ""
        assert ours.sqnr is not None
        assert ours.sqnr > 15
        assert row.ratio is not None


def test_peer_that_cannot_quantize_costs_one_line(model: Path, tmp_path: Path) -> None:
    with ExitStack() as stack:
        contest = Contest(model, 1, stack)
        contest.enter(Entry("onnxruntime", Int8(tmp_path / "absent.npz", "u8")))
        (timing,) = contest.timings({}).values()
    assert "No such file" in timing.reason


# ---- report


def test_int8_table_shows_distances_and_both_modes() -> None:
    peer = Timing("openvino", "qdq", median=9.0, quartiles=(9.0, 9.1), best=9.0, runs=9, sqnr=33.4)
    ours = [
        Timing(OURS, mode, median=ms, quartiles=(ms, ms), best=ms, runs=9, sqnr=db)
        for mode, ms, db in (("accurate", 6.0, 34.0), ("fast", 4.5, 25.0))
    ]
    heat = (peer, Timing("openvino", "nncf", reason="not installed: pip install nncf"))
    rows = [Row("resnet18", 2, (t, peer), t.variant, heat) for t in ours]
    lines = as_markdown(rows, [OURS, "openvino"], ABOUT).splitlines()
    assert "| resnet18 | accurate | 2 | 6.00 (34.0) | 9.00 (33.4) | openvino qdq | 1.50 | 1.15 |" in lines
    assert "| resnet18 | fast | 2 | 4.50 (25.0) | 9.00 (33.4) | openvino qdq | 2.00 | 1.30 |" in lines
    assert lines[0].startswith("Medians in milliseconds, int8")
    assert notes(rows) == ["openvino nncf: not installed: pip install nncf (resnet18/2)"]
