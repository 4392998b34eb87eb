"""Engines, their worker processes, and the tables made of their times."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from typer import Typer
from typer.testing import CliRunner

from secateur.tools.bench import contest as bench_contest
from secateur.tools.bench import models, peers
from secateur.tools.bench import networks as bench_peers
from secateur.tools.bench.contest import Contest, Entry
from secateur.tools.bench.model_builder import GraphBuilder
from secateur.tools.bench.networks import measure, sample_input
from secateur.tools.bench.peers import ENGINES, PEERS, Peer, PeerError, Runner, engine
from secateur.tools.bench.report import (
    Row,
    Timing,
    as_json,
    as_markdown,
    machine,
    notes,
    relative_error,
    summarize,
)
from secateur.tools.bench.worker import Sample, Worker

ABOUT = {"cpu": "a processor", "cores": 2, "versions": {"secateur": "0.1", "openvino": "1", "ncnn": ""}}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save("resnet20", tmp_path_factory.mktemp("models"))


@pytest.fixture
def worker(model: Path, tmp_path: Path) -> Iterator[Worker]:
    with Worker("onnxruntime", model, 1, tmp_path / "log") as process:
        process.prepare()
        yield process


class Absent(Peer):
    name = "absent"
    modules: ClassVar = {"no_such_module_at_all": "--no-deps absent"}

    def prepare(self, model: Path, threads: int) -> Runner:
        raise AssertionError(f"not installed, yet asked to load {model} on {threads} threads")


# ---- engines


@pytest.mark.parametrize("name", PEERS)
def test_peers_agree_with_onnxruntime(name: str, model: Path, tmp_path: Path) -> None:
    if engine(name).missing():
        pytest.skip(f"needs: pip install {' '.join(engine(name).missing())}")
    x = sample_input(model)
    expected = engine("onnxruntime").prepare(model, 1).run(x)
    with Worker(name, model, 2, tmp_path / "log") as process:
        process.prepare()
        assert relative_error(process.output(x), expected) < 1e-4


def test_secateur_agrees_with_onnxruntime(tmp_path: Path) -> None:
    """In a worker, as the benchmark runs it: the compiler may start processes of its own there."""
    g = GraphBuilder("tiny", (1, 3, 8, 8), seed=0)
    path = tmp_path / "tiny.onnx"
    path.write_bytes(g.finish(g.relu(g.conv(g.input, "conv", 16, 3, pad=1), "relu")).SerializeToString())
    row = measure("tiny", path, 2, ["secateur", "onnxruntime"], rounds=1, budget=0.0)
    ours = row.timings[0]
    assert ours.reason == ""
    assert ours.error is not None
    assert ours.error < 1e-5
    assert row.ratio is not None


def test_outputs_outlive_the_next_run(model: Path) -> None:
    runner = engine("onnxruntime").prepare(model, 1)
    first = runner.run(sample_input(model))
    kept = first.copy()
    runner.run(np.zeros_like(sample_input(model)))
    assert np.array_equal(first, kept)


def test_engines_are_named_once_and_know_their_version() -> None:
    assert [peer.name for peer in ENGINES.values()] == list(ENGINES)
    assert engine("onnxruntime").version()[0].isdigit()
    assert Absent().version() == ""


def test_importing_the_engines_imports_none_of_them() -> None:
    heavy = {"onnxruntime", "openvino", "ncnn", "MNN", "tvm"}
    code = f"import sys, secateur.tools.bench.networks; print(*({heavy!r} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == []


# ---- workers


def test_worker_computes_what_the_engine_computes(worker: Worker, model: Path) -> None:
    x = sample_input(model)
    assert np.array_equal(worker.output(x), engine("onnxruntime").prepare(model, 1).run(x))


def test_burst_fills_its_time(worker: Worker, model: Path) -> None:
    worker.output(sample_input(model))
    assert len(worker.burst(0.0, 3)) == 3
    samples = worker.burst(0.02, 1)
    assert sum(s.taken for s in samples) >= 0.02
    assert all(s.taken > 0 and s.waited >= 0 for s in samples)


def test_worker_stands_still_between_its_turns(worker: Worker, model: Path) -> None:
    worker.output(sample_input(model))
    pid = worker._process.pid
    os.waitid(os.P_PID, pid or 0, os.WSTOPPED | os.WNOWAIT)
    state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    assert state == "T"


def test_measure_gives_times_and_errors(model: Path) -> None:
    row = measure("resnet20", model, 1, ["onnxruntime"], rounds=1, budget=0.0)
    (timing,) = row.timings
    assert timing.median is not None
    assert timing.quartiles is not None
    assert timing.best is not None
    assert 0 < timing.best <= timing.quartiles[0] <= timing.median <= timing.quartiles[1]
    assert timing.runs >= bench_contest.BURST_RUNS
    assert timing.error == 0.0


# ---- workers: refusals


def test_worker_says_why_a_model_does_not_load(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with (
        Worker("onnxruntime", broken, 1, tmp_path / "log") as process,
        pytest.raises(PeerError, match="Protobuf parsing failed"),
    ):
        process.prepare()


def test_worker_that_is_killed_says_by_what(worker: Worker, model: Path) -> None:
    os.kill(worker._process.pid or 0, signal.SIGKILL)
    with pytest.raises(PeerError, match="killed by SIGKILL"):
        worker.output(sample_input(model))


def test_engine_that_fails_leaves_the_others_running(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of engines of the worker's process lacks this one, so that it ends with an error."""
    monkeypatch.setitem(peers.ENGINES, "ghost", engine("onnxruntime"))
    row = measure("resnet20", model, 1, ["ghost", "onnxruntime"], rounds=1, budget=0.0)
    ghost, other = row.timings
    assert ghost.reason.startswith("ValueError: unknown engine 'ghost'")
    assert other.median is not None


def test_engine_that_dies_between_turns_drops_out(model: Path) -> None:
    with ExitStack() as stack:
        contest = Contest(model, 1, stack)
        entry = Entry("onnxruntime")
        contest.enter(entry)
        os.kill(contest._workers[entry]._process.pid or 0, signal.SIGKILL)
        assert contest.turn(lambda w: w.burst(0.0, 1)) == {}
        assert contest.turn(lambda w: w.burst(0.0, 1)) == {}
    assert contest.failed == {entry: "killed by SIGKILL"}


def test_engine_that_is_not_installed_costs_one_line(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(peers.ENGINES, "absent", Absent())
    row = measure("resnet20", model, 1, ["absent"], rounds=1, budget=0.0)
    assert row.timings == (Timing("absent", reason="not installed: pip install --no-deps absent"),)
    assert notes([row]) == ["absent: not installed: pip install --no-deps absent (resnet20/1)"]


def test_unknown_engine_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown engine 'tflite'; known: secateur, onnxruntime"):
        engine("tflite")


# ---- reports


def timed(name: str, median: float, quartiles: tuple[float, float], error: float) -> Timing:
    return Timing(name, median=median, quartiles=quartiles, best=quartiles[0], runs=20, error=error)


def rows() -> list[Row]:
    ours = timed("secateur", 20.0, (19.9, 20.1), error=3e-6)
    quick = timed("openvino", 30.0, (28.0, 32.0), error=7e-7)
    slow = timed("mnn", 45.0, (44.9, 45.1), error=5e-5)
    failed = Timing("ncnn", reason="pnnx does not convert the model: no kernel")
    return [Row("resnet18", 1, (ours, quick, failed, slow)), Row("resnet18", 2, (failed, quick))]


def test_ratio_is_the_fastest_peer_over_ours() -> None:
    one, two = rows()
    assert one.fastest_peer is not None
    assert (one.fastest_peer.engine, one.ratio, one.bar) == ("openvino", 1.5, 1.15)
    assert (two.ratio, two.bar) == (None, None)
    assert Row("alexnet", 1, ()).bar == 0.85
    assert Row("alexnet", 1, (Timing("secateur", median=1.0),)).ratio is None


def test_markdown_shows_times_ratios_and_reasons() -> None:
    text = as_markdown(rows(), ["secateur", "openvino", "ncnn", "mnn"], ABOUT)
    lines = text.splitlines()
    assert "| resnet18 | 1 | 20.00 | 30.00~ | – | 45.00 | openvino | 1.50 | 1.15 | 3e-06 |" in lines
    assert "| resnet18 | 2 | – | 30.00~ | – | – | openvino | – | – | – |" in lines
    assert "* ncnn: pnnx does not convert the model: no kernel (resnet18/1, resnet18/2)" in lines
    assert "* ~ interquartile range above 10% of the median" in lines
    assert "a processor, 2 cores; secateur 0.1, openvino 1." in lines


def test_json_holds_every_number_and_the_machine() -> None:
    data = json.loads(as_json(rows(), machine(["onnxruntime"])))
    first = data["results"][0]
    assert (first["model"], first["ratio"], first["fastest_peer"]) == ("resnet18", 1.5, "openvino")
    assert first["timings"][0]["quartiles"] == [19.9, 20.1]
    assert first["timings"][2]["reason"].startswith("pnnx")
    assert data["machine"]["versions"]["onnxruntime"] == engine("onnxruntime").version()
    assert data["machine"]["cpu"]


def test_summary_is_in_milliseconds() -> None:
    timing = summarize("x", [Sample(t, 0.0) for t in (0.004, 0.001, 0.002, 0.003, 0.010)])
    assert (timing.median, timing.best, timing.runs) == pytest.approx((3.0, 1.0, 5))
    assert timing.quartiles == pytest.approx((2.0, 4.0))
    assert timing.noisy
    assert not summarize("x", [Sample(t, 0.0) for t in (0.003, 0.003, 0.00301)]).noisy


def test_disturbed_runs_are_left_out_where_enough_others_remain() -> None:
    calm, disturbed = [Sample(0.002, 0.00003)] * 5, [Sample(0.009, 0.007)] * 20
    timing = summarize("x", calm + disturbed)
    assert (timing.median, timing.runs, timing.disturbed) == (2.0, 5, 20)
    timing = summarize("x", calm[:4] + disturbed)
    assert (timing.median, timing.runs, timing.disturbed) == (9.0, 24, 20)
    assert "20 runs were disturbed" in notes([Row("resnet18", 1, (timing,))])[-1]


def test_relative_error_sees_wrong_answers() -> None:
    expected = np.array([[1.0, -4.0]], np.float32)
    assert relative_error(expected, expected) == 0.0
    assert relative_error(np.array([[1.0, -3.0]], np.float32), expected) == 0.25
    assert relative_error(np.array([[1.0, np.nan]], np.float32), expected) == float("inf")
    assert relative_error(expected[0], expected) == float("inf")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "resnet18,lenet"], "unknown model 'lenet'; known: resnet18"),
        (["--models", ","], "no model given"),
        (["--peers", "tflite"], "unknown peer 'tflite'; known: onnxruntime"),
        (["--peers", "secateur"], "unknown peer 'secateur'"),
        (["--threads", "1,0"], "thread counts are positive integers"),
        (["--threads", "two"], "got 'two'"),
        (["--rounds", "0"], "rounds"),
    ],
)
def test_command_line_refuses(arguments: list[str], message: str, tmp_path: Path) -> None:
    app = Typer()
    app.command()(bench_peers.main)
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out")], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())
    assert not (tmp_path / "out").exists()
