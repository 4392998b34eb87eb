"""`secateur compile`: options, refusals, and what an interrupt leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur import load
from secateur.ir.files import read_graph
from secateur.ir.interpreter import run
from secateur.runtime.session import Session
from tests.sampled import sampled_rows

from ...conftest import Cli


def test_compiles_to_an_artifact_that_answers_as_the_interpreter(
    cli: Cli, model: Path, tmp_path: Path
) -> None:
    result = cli("compile", model, "-o", tmp_path / "out.so")
    assert result.code == 0
    assert result.out.startswith(f"{tmp_path}/out.so: ")
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    from secateur.ir.onnx_reader import read_model

    with load(tmp_path / "out.so") as session:
        np.testing.assert_allclose(
            session.run({"x": x})["y"], run(read_model(model), {"x": x})["y"], atol=1e-5
        )


def test_json_is_alone_on_stdout(cli: Cli, model: Path, tmp_path: Path) -> None:
    result = cli("compile", model, "-o", tmp_path / "out.so", "--json", "--print-ir-after", "fuse")
    summary = json.loads(result.out)
    assert summary["artifact"] == str(tmp_path / "out.so")
    assert summary["bytes"] == (tmp_path / "out.so").stat().st_size
    assert [row["pass"] for row in summary["passes"]] == [
        "canonicalize",
        "fuse",
        "select",
        "layout",
        "memory",
    ]
    assert "// IR after pass 2 fuse" in result.err


@pytest.mark.parametrize(("name", "kind"), [("a.so", "so"), ("a.tar", "tar"), ("b", "so")])
def test_kind_follows_the_outputs_suffix(cli: Cli, model: Path, tmp_path: Path, name: str, kind: str) -> None:
    assert cli("compile", model, "-o", tmp_path / name).code == 0
    magic = b"\x7fELF" if kind == "so" else b"bench"
    assert (tmp_path / name).read_bytes().startswith(magic)


def test_default_output_is_the_models_name_in_this_folder(
    cli: Cli, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli("compile", model).code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["residual.so"]


def test_dump_ir_writes_numbered_files_and_kernels(cli: Cli, model: Path, tmp_path: Path) -> None:
    assert cli("compile", model, "-o", tmp_path / "out.so", "--dump-ir", tmp_path / "ir").code == 0
    names = sorted(path.name for path in (tmp_path / "ir").glob("*.sir"))
    stages = ("input", "canonicalize", "fuse", "select", "layout", "memory")
    assert names == [f"{i:02}-{name}.sir" for i, name in enumerate(stages)]
    assert read_graph(tmp_path / "ir" / "05-memory.sir").name == "residual"
    kernels = list((tmp_path / "ir" / "kernels").iterdir())
    assert {path.suffix for path in kernels} == {".py", ".ll", ".s"}
    assert all(path.stem in path.read_text() for path in kernels)


@pytest.mark.parametrize("stage", ["00-input.sir", "02-fuse.sir", "03-select.sir", "05-memory.sir"])
def test_dumped_ir_compiles_again_to_the_same_answers(
    cli: Cli, model: Path, artifact: Path, tmp_path: Path, stage: str
) -> None:
    cli("compile", model, "-o", tmp_path / "out.so", "--dump-ir", tmp_path / "ir")
    assert cli("compile", tmp_path / "ir" / stage, "-o", tmp_path / "again.so").code == 0
    x = np.ones((1, 3, 8, 8), np.float32)
    with load(artifact) as first, load(tmp_path / "again.so") as second:
        np.testing.assert_allclose(first.run({"x": x})["y"], second.run({"x": x})["y"], atol=1e-6)


def test_verify_reports_how_far_each_pass_moved_the_answer(cli: Cli, model: Path, tmp_path: Path) -> None:
    result = cli("compile", model, "-o", tmp_path / "out.so", "--verify", "--json")
    moved = [row["moved"] for row in result.json["passes"]]
    assert len(moved) >= 4
    assert all(m is not None and m < 1e-4 for m in moved)


def test_timings_name_every_pass_and_phase(cli: Cli, model: Path, tmp_path: Path) -> None:
    result = cli("compile", model, "-o", tmp_path / "out.so", "--timings")
    assert [line.split("  ")[0] for line in result.out.splitlines()[2:11]] == [
        "reading", "canonicalize", "fuse", "select", "layout", "memory", "kernels", "linking", "in all",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "rpi44"], "unknown target 'rpi44'; did you mean 'rpi4'?"),
        (
            ["--pipeline", "canonicalize,fuze"],
            "did you mean 'fuse'? Known: canonicalize, equalize, fuse, half, layout, memory, narrow, open, ",
        ),
        (["--pipeline", "memory,fuse"], "takes stage"),
        (["--print-ir-after", "fuze"], "no pass 'fuze'; did you mean 'fuse'?"),
        (["--precision", "fp16", "--target", "rpi4"], "rpi4 has no fast arithmetic on 16-bit floats"),
        (["--precision", "fp16", "--target", "cuda-sm_61"], "Leave it out, or quantize to int8"),
        (["--precision", "fp16", "--target", "edgetpu"], "Targets with it: armv8.2-a+dotprod+fp16, rpi5"),
        (
            ["--precision", "fp16", "--target", "rpi5", "--quantize", "int8", "--calibration", "random:2"],
            "a network is made one of them; leave one out",
        ),
        (
            ["--precision", "fp16", "--target", "rpi5", "--method", "mse", "--report", "r.html"],
            "--method, --report: only for --quantize int8, not for --precision fp16",
        ),
        (["--precision", "fp16", "--target", "rpi5", "--images", "3"], "--images: only with --calibration"),
        (["--precision", "fp16", "--target", "rpi5", "--pipeline", "fuse"], "the pipeline has no pass half"),
        (["--shape", "x=1x3"], "does not fit"),
        (["--shape", "x=ax3"], "expected a name and dimensions"),
        (["--shape", "z=1x3x8x8"], "no input z"),
        (["--shape", "x=1x3x8x8", "--shape", "x=1x3x8x8"], "given twice"),
        (["-o", "/proc/nowhere/out.so"], "/proc/nowhere"),
    ],
)
def test_refusals(
    cli: Cli, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli("compile", model, *words)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert result.told.startswith("error: ")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_else_is_not_replaced(cli: Cli, model: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    result = cli("compile", model, "-o", tmp_path)
    assert result.code == 2
    assert "not replaced" in result.err
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def _heed_interrupts() -> None:
    """A shell has the programs it starts in the background ignore SIGINT, and they hand that on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(
    ("delay", "number", "code"),
    sampled_rows(
        [(delay, *end) for delay in (0.0, 1.0) for end in ((signal.SIGINT, 130), (signal.SIGTERM, 143))],
        lambda delay, number, _: (number == signal.SIGINT) == bool(delay),
    ),
)
def test_an_interrupt_leaves_what_was_there_before(
    model: Path, tmp_path: Path, number: signal.Signals, code: int, delay: float
) -> None:
    """The passes are done and kernels are being compiled (the cache is empty) when the signal arrives."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "model.so").write_text("yesterday's")
    words = ["compile", model, "-o", folder / "model.so", "--print-ir-after", "memory"]
    started = [sys.executable, "-c", "from secateur.tools.cli.main import main; main()", *map(str, words)]
    environment = os.environ | {"SECATEUR_CACHE": str(tmp_path / "cache")}
    with subprocess.Popen(
        started, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=_heed_interrupts
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line == "}\n":  # the IR has been printed
                break
        time.sleep(delay)
        process.send_signal(number)
        rest = process.stderr.read()
    assert process.returncode == code, rest
    assert "Traceback" not in rest
    assert [path.name for path in folder.iterdir()] == ["model.so"]
    assert (folder / "model.so").read_text() == "yesterday's"


def test_verify_runs_the_artifact(cli: Cli, model: Path, tmp_path: Path) -> None:
    result = cli("compile", "--verify=artifact", model, "-o", tmp_path / "out.so", "--json")
    (row,) = result.json["verified"]
    assert row["output"] == "y"
    assert 0 <= row["moved"] <= row["allowed"] == 1e-3


def test_verify_alone_takes_no_word_behind_it(cli: Cli, model: Path, tmp_path: Path) -> None:
    result = cli("compile", "--verify", model, "-o", tmp_path / "out.so", "--json")
    assert result.json["verified"] == []
    assert result.json["passes"][0]["moved"] is not None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--verify=all"], "'all' is not one of 'passes', 'artifact'"),
        (["--verify=artifact", "--target", "rpi4"], "for rpi4 cannot run on this machine"),
    ],
)
def test_what_cannot_be_verified_is_refused(
    cli: Cli, model: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    result = cli("compile", model, "-o", tmp_path / "out.so", *words)
    assert result.code == 2
    assert message in result.err
    assert not (tmp_path / "out.so").exists()


@pytest.mark.parametrize("kind", ["so", "dir", "tar"])
def test_an_artifact_that_is_wrong_is_not_delivered(
    cli: Cli, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A session that gives each output a little off, as a wrong kernel would."""

    class Wrong(Session):
        def run(self, *given: Any, **more: Any) -> dict[str, Any]:
            return {name: y + y.dtype.type(0.1) for name, y in super().run(*given, **more).items()}

    monkeypatch.setattr("secateur.runtime.session.Session", Wrong)
    result = cli("compile", model, "-o", tmp_path / "out", "--kind", kind, "--verify=artifact")
    assert result.code == 1
    assert "output 'y' is off by" in result.err
    assert list(tmp_path.iterdir()) == []
