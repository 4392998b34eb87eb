"""`secateur compile --quantize int8` and `secateur quantize`: what they write, say and refuse."""

import csv
import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur import Int8, load
from secateur.tools.cli.groups import Given
from secateur.tools.cli.quantization import Extras, Quantization
from secateur.tools.pages.quantization_rows import keep_float_option
from tests.sampled import sampled_rows

from ...conftest import Cli


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight inputs of the residual network, with labels."""
    path = tmp_path_factory.mktemp("calibration") / "images.npz"
    rng = np.random.default_rng(3)
    np.savez(path, x=rng.standard_normal((8, 3, 8, 8)).astype(np.float32), labels=np.arange(8) % 5)
    return path


@pytest.fixture
def int8(images: Path) -> list[str]:
    """The options of a plain quantization, of every layer: so small a network is hardly faster in 8 bits."""
    return ["--quantize", "int8", "--calibration", str(images), "--layers", "all"]


def one_image(images: Path) -> np.ndarray:
    with np.load(images) as arrays:
        return arrays["x"][:1]  # type: ignore[no-any-return]


# Compiling -----------------------------------------------------------------------------------------


def test_int8_artifact_answers_nearly_as_the_float_one(
    cli: Cli, model: Path, artifact: Path, images: Path, int8: list[str], tmp_path: Path
) -> None:
    result = cli("compile", model, "-o", tmp_path / "q.so", *int8)
    assert result.code == 0, result.err
    x = one_image(images)
    with load(artifact) as real, load(tmp_path / "q.so") as quantized:
        wanted, got = real.run({"x": x})["y"], quantized.run({"x": x})["y"]
    noise = np.linalg.norm(got - wanted) / np.linalg.norm(wanted)
    assert 0 < noise < 0.05


def test_says_first_whether_int8_pays_then_what_it_did(
    cli: Cli, model: Path, int8: list[str], tmp_path: Path
) -> None:
    lines = cli("compile", model, "-o", tmp_path / "q.so", *int8).out.splitlines()
    assert re.match(r"int8 .*host", lines[0])
    assert lines[1].startswith(f"{tmp_path}/q.so: ")
    assert re.match(r"int8: \d+ of \d+ operators, \d+ of them Winograd; output SQNR \d+\.\d dB$", lines[2])
    assert lines[3].startswith("noisiest layers: ")


def test_reports_agree(cli: Cli, model: Path, int8: list[str], tmp_path: Path) -> None:
    paths = [tmp_path / f"r.{suffix}" for suffix in ("csv", "json", "html")]
    words = [word for path in paths for word in ("--report", path)]
    result = cli("compile", model, "-o", tmp_path / "q.so", *int8, *words)
    assert result.code == 0, result.err
    rows = list(csv.DictReader(paths[0].read_text().splitlines()))
    layers = json.loads(paths[1].read_text())["layers"]
    assert json.loads(paths[1].read_text())["model"] == model.name
    assert f"<h1>{model.name} in int8</h1>" in paths[2].read_text()
    assert [row["name"] for row in rows] == [layer["name"] for layer in layers]
    assert paths[2].read_text().count("<tr>") == 1 + len(rows)
    convolution = next(layer for layer in layers if layer["operator"] in ("q.linear_conv", "q.winograd_conv"))
    assert convolution["scale"] > 0
    assert convolution["low"] <= 0 < convolution["high"]
    assert convolution["sqnr_db"] > 15
    assert 0 < convolution["estimated_seconds"] < convolution["float_estimated_seconds"] * 10
    assert convolution["measured_seconds"] is None


def test_profile_adds_measured_times(cli: Cli, model: Path, int8: list[str], tmp_path: Path) -> None:
    words = ["--profile", "--report", tmp_path / "r.json"]
    assert cli("compile", model, "-o", tmp_path / "q.so", *int8, *words).code == 0
    data = json.loads((tmp_path / "r.json").read_text())
    times = [
        (row["measured_seconds"], row["float_measured_seconds"]) for row in data["layers"] if row["sqnr_db"]
    ]
    assert times
    assert all(t is not None and t > 0 for pair in times for t in pair)
    assert data["int8_measured_seconds"] > 0


def test_json_is_alone_on_stdout(cli: Cli, model: Path, int8: list[str], tmp_path: Path) -> None:
    summary = cli("compile", model, "-o", tmp_path / "q.so", *int8, "--json").json
    assert summary["quantization"]["output_sqnr_db"] > 15
    assert summary["int8_gain"] > 0
    assert [row["pass"].partition("{")[0] for row in summary["passes"]][2] == "quantize"


def test_layers_kept_in_float_are_printed_as_the_option_that_keeps_them(
    cli: Cli, model: Path, int8: list[str], tmp_path: Path
) -> None:
    result = cli("compile", model, "-o", tmp_path / "q.so", *int8, "--keep-float", "Conv#0,Gemm#8")
    assert result.code == 0, result.err
    assert result.out.splitlines()[-1] == "kept in float: --keep-float 'Conv#0' --keep-float 'Gemm#8'"


def test_a_limit_on_the_outputs_keeps_layers_in_float(
    cli: Cli, model: Path, int8: list[str], tmp_path: Path
) -> None:
    plain = cli("compile", model, "-o", tmp_path / "q.so", *int8, "--json").json["quantization"]
    limit = plain["output_sqnr_db"] + 1
    result = cli("compile", model, "-o", tmp_path / "q.so", *int8, "--min-sqnr", limit, "--json")
    assert result.code == 0, result.err
    found = result.json["quantization"]
    assert found["output_sqnr_db"] >= limit
    option = keep_float_option(found["float_layers"])
    assert found["float_layers"]
    again = cli("compile", model, "-o", tmp_path / "q.so", *int8, *shlex.split(option), "--json").json
    assert again["quantization"]["float_layers"] == found["float_layers"]


def test_a_limit_on_the_accuracy_is_held_against_labels(
    cli: Cli, model: Path, int8: list[str], tmp_path: Path
) -> None:
    result = cli("compile", model, "-o", tmp_path / "q.so", *int8, "--max-drop", 100)
    assert result.code == 0, result.err
    assert re.search(r", accuracy \d+\.\d\d % \(float \d+\.\d\d %\)$", result.out, re.MULTILINE)


@pytest.mark.parametrize("words", [["--min-sqnr", "500"], ["--min-sqnr", "400", "--json"]])
def test_a_limit_that_cannot_be_kept_is_a_failed_check(
    cli: Cli, model: Path, int8: list[str], tmp_path: Path, words: list[str]
) -> None:
    result = cli("compile", model, "-o", tmp_path / "q.so", *int8, *words)
    assert result.code == 1
    assert "limit cannot be kept" in result.err
    assert "Traceback" not in result.err
    assert list(tmp_path.iterdir()) == []


def test_a_pipeline_may_say_how_to_quantize(cli: Cli, model: Path, int8: list[str], tmp_path: Path) -> None:
    pipeline = "canonicalize,fuse,quantize{method=minmax},select,layout,memory"
    result = cli("compile", model, "-o", tmp_path / "q.so", *int8[:-2], "--pipeline", pipeline, "--json")
    assert result.code == 0, result.err
    assert "method=minmax" in result.json["passes"][2]["pass"]


def test_layers_that_int8_makes_slower_stay_in_float(
    cli: Cli, model: Path, int8: list[str], tmp_path: Path
) -> None:
    words = ["--target", "rpi5", "--json"]
    chosen = cli("compile", model, "-o", tmp_path / "q.so", *int8[:-2], *words).json
    everything = cli("compile", model, "-o", tmp_path / "q.so", *int8, *words).json
    assert chosen["int8_gain"] >= 1 > everything["int8_gain"]
    assert len(chosen["quantization"]["slower_layers"]) == 3
    assert everything["quantization"]["slower_layers"] == []


def test_a_network_that_stays_in_float_is_said_first(
    cli: Cli, model: Path, int8: list[str], tmp_path: Path
) -> None:
    result = cli("compile", model, "-o", tmp_path / "q.so", *int8[:-2], "--target", "rpi5")
    assert result.out.splitlines()[0].endswith("estimated); the network stays in float")
    assert "int8: 0 of " in result.out


def test_a_poor_answer_is_warned_of_with_the_reason(
    cli: Cli, model: Path, int8: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "ranges.json"
    assert cli("compile", model, "-o", tmp_path / "q.so", *int8, "--save-ranges", path).code == 0
    saved = json.loads(path.read_text())
    saved["ranges"] = {name: [low / 8, high / 8] for name, (low, high) in saved["ranges"].items()}
    path.write_text(json.dumps(saved))
    result = cli("compile", model, "-o", tmp_path / "q.so", *int8, "--ranges", path)
    assert re.search(r"^warning: the outputs' SQNR is -?[\d.]+ dB, less than 15: ", result.out, re.MULTILINE)
    assert "they fall below 15 at Conv#" in result.out
    assert "Try --min-sqnr 20" in result.out


def test_reports_on_noise_say_so(cli: Cli, model: Path, tmp_path: Path) -> None:
    words = ["--quantize", "int8", "--layers", "all", "--calibration", "random:4"]
    result = cli("compile", model, "-o", tmp_path / "q.so", *words, "--report", tmp_path / "r.json")
    assert re.search(r"output SQNR [\d.]+ dB on noise$", result.out, re.MULTILINE)
    assert json.loads((tmp_path / "r.json").read_text())["calibration"] == "random:4 (noise, not data)"


# Writing ONNX --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("words", "exact"), [((), "1"), (("--reduce-range",), "0")])
def test_quantize_writes_onnx_that_other_tools_and_this_one_run(
    cli: Cli, model: Path, artifact: Path, images: Path, tmp_path: Path, words: tuple[str, ...], exact: str
) -> None:
    path = tmp_path / "q.onnx"
    result = cli("quantize", model, "-o", path, "--calibration", images, *words)
    assert result.code == 0, result.err
    assert re.match(r"int8 .*host", result.out)
    assert cli("compile", path, "-o", tmp_path / "q.so").code == 0
    x = one_image(images)
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", exact)  # it is not without VNNI, by itself
    peer = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    with load(artifact) as real, load(tmp_path / "q.so") as quantized:
        wanted, got = real.run({"x": x})["y"], quantized.run({"x": x})["y"]
    assert 0 < np.linalg.norm(got - wanted) < 0.05 * np.linalg.norm(wanted)
    assert np.linalg.norm(peer.run(None, {"x": x})[0] - got) < 0.02 * np.linalg.norm(wanted)


def test_quantized_weights_are_bytes(cli: Cli, model: Path, images: Path, tmp_path: Path) -> None:
    assert cli("quantize", model, "-o", tmp_path / "q.onnx", "--calibration", images).code == 0
    graph = onnx.load(tmp_path / "q.onnx").graph
    kinds = {t.data_type for t in graph.initializer if len(t.dims) > 1}
    assert onnx.TensorProto.INT8 in kinds
    assert onnx.TensorProto.FLOAT not in kinds


def test_ranges_are_saved_edited_and_used_again(cli: Cli, model: Path, images: Path, tmp_path: Path) -> None:
    first, second, file = tmp_path / "1.onnx", tmp_path / "2.onnx", tmp_path / "ranges.json"
    words = ["--calibration", images]
    assert cli("quantize", model, "-o", first, *words, "--save-ranges", file).code == 0
    assert cli("quantize", model, "-o", second, *words, "--ranges", file, "--method", "minmax").code == 0
    assert first.read_bytes() == second.read_bytes()
    data = json.loads(file.read_text())
    data["ranges"]["x"] = [-25.5, 25.5]
    file.write_text(json.dumps(data))
    edited = cli("quantize", model, "-o", second, *words, "--ranges", file, "--json").json
    row = next(row for row in edited["quantization"]["layers"] if row["operator"] == "q.quantize")
    assert row["scale"] == pytest.approx(0.2)


def test_default_name_of_the_quantized_model(
    cli: Cli, model: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli("quantize", model, "--calibration", images).code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["residual.int8.onnx"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "needs --calibration"),
        (["--calibration", "/nowhere"], 2, "/nowhere: no such calibration data"),
        (["--calibration", "random:2", "--report", "r.doc"], 2, "the suffix tells the format"),
        (["--calibration", "random:2", "--target", "rpi44"], 2, "unknown target 'rpi44'"),
        (["--calibration", "random:2", "--min-sqnr", "400"], 1, "limit cannot be kept"),
        (["--calibration", "random:2", "-o", "no/q.onnx"], 2, "no/q.onnx"),
    ],
)
def test_quantize_refuses(
    cli: Cli, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int,
    message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    result = cli("quantize", model, *words)
    assert result.code == code
    assert message in result.err
    assert "Traceback" not in result.err
    assert list(tmp_path.iterdir()) == []


def test_a_quantized_model_is_not_quantized_again(
    cli: Cli, model: Path, images: Path, int8: list[str], tmp_path: Path
) -> None:
    assert cli("quantize", model, "-o", tmp_path / "q.onnx", "--calibration", images).code == 0
    for words in (["quantize", "--calibration", images], ["compile", *int8]):
        result = cli(words[0], tmp_path / "q.onnx", "-o", tmp_path / "twice", *words[1:])
        assert result.code == 2
        assert "quantized already" in result.err


# Refusals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--calibration", "random:2"], "--calibration: only for a quantization; give --quantize int8 too"),
        (["--max-drop", "0"], "--max-drop: only for a quantization"),
        (["--report", "r.csv", "--profile"], "--report, --profile: only for a quantization"),
        (["--quantize", "int8"], "--quantize int8 needs --calibration"),
        (["--quantize", "int4"], "int4"),
        (
            ["--quantize", "int8", "--calibration", "/nowhere/images"],
            "/nowhere/images: no such calibration data",
        ),
        (["--quantize", "int8", "--calibration", "random:0"], "random: and a number of images"),
        (["--quantize", "int8", "--calibration", "random:2", "--mean", "a"], "--mean a: numbers with commas"),
        (["--quantize", "int8", "--calibration", "random:2", "--max-drop", "101"], "from 0 to 100"),
        (["--quantize", "int8", "--calibration", "random:2", "--max-drop", "1"], "label"),
        (["--quantize", "int8", "--calibration", "random:2", "--keep-float", "nobody"], "'nobody'"),
        (["--quantize", "int8", "--calibration", "random:2", "--keep-float", ""], "names no layer"),
        (["--quantize", "int8", "--calibration", "random:2", "--winograd", "6"], "winograd"),
        (
            ["--quantize", "int8", "--calibration", "random:2", "--report", "r.pdf"],
            "the suffix tells the format",
        ),
        (
            ["--quantize", "int8", "--calibration", "random:2", "--report", "no/r.csv"],
            "there is no folder no",
        ),
        (["--quantize", "int8", "--calibration", "random:2", "--ranges", "no.json"], "no.json"),
        (["--quantize", "int8", "--calibration", "random:2", "--save-ranges", "no/r.json"], "no folder no"),
        (
            ["--quantize", "int8", "--calibration", "random:2", "--profile", "--target", "rpi4"],
            "target rpi4 is another",
        ),
        (
            ["--quantize", "int8", "--calibration", "random:2", "--pipeline", "canonicalize,fuse"],
            "the pipeline has no pass quantize",
        ),
        (
            ["--quantize", "int8", "--calibration", "random:2", "--equalize", "--pipeline", "quantize"],
            "--equalize: write it into the pipeline's quantize{...}",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:.*noise")
def test_refusals(
    cli: Cli, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli("compile", model, *words)
    assert result.code == 2
    assert message in result.err
    assert "Traceback" not in result.err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_images_is_refused(cli: Cli, model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = cli(
        "compile", model, "-o", tmp_path / "q.so", "--quantize", "int8", "--calibration", tmp_path / "empty"
    )
    assert result.code == 2
    assert "holds no image" in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_arrays_of_another_shape_are_refused(cli: Cli, model: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((4, 3, 9, 9), np.float32))
    words = ["--quantize", "int8", "--calibration", tmp_path / "x.npy"]
    result = cli("compile", model, "-o", tmp_path / "q.so", *words)
    assert result.code == 2
    assert "takes images of (N, 3, 8, 8)" in result.err
    assert not (tmp_path / "q.so").exists()


def test_ir_with_primitives_is_not_quantized(cli: Cli, model: Path, int8: list[str], tmp_path: Path) -> None:
    cli("compile", model, "-o", tmp_path / "out.so", "--dump-ir", tmp_path / "ir")
    result = cli("compile", tmp_path / "ir" / "05-memory.sir", "-o", tmp_path / "q.so", *int8)
    assert result.code == 2
    assert "only a float network can be quantized" in result.err


def heed_interrupts() -> None:
    """A shell has the programs it starts in the background ignore SIGINT, and they hand that on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


SLOW_CALIBRATION = """
import sys, time
from secateur.passes.quantize.calibration import data as calibration_data
from secateur.tools.cli.main import main
opened = calibration_data._from_random

def slow(*rest):
    source = opened(*rest)
    def read():
        for batch in opened(*rest):
            print("calibrating", file=sys.stderr, flush=True)
            time.sleep(0.5)
            yield batch
    return type(source)(source.batch, source.images, read)

calibration_data._from_random = slow
main()
"""


ENDS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.mark.parametrize(("number", "code"), sampled_rows(ENDS, lambda number, _: number == signal.SIGTERM))
def test_an_interrupt_while_calibrating_leaves_nothing(
    model: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    words = ["compile", model, "-o", tmp_path / "q.so", "--quantize", "int8", "--calibration", "random:999",
             "--report", tmp_path / "r.html"]  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-c", SLOW_CALIBRATION, *map(str, words)],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        preexec_fn=heed_interrupts,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        while process.stderr.readline() not in ("calibrating\n", ""):
            pass
        process.send_signal(number)
        rest = process.stderr.read()
    assert process.returncode == code, rest
    assert "Traceback" not in rest
    assert list(tmp_path.iterdir()) == []


# Options -------------------------------------------------------------------------------------------


def asked(*names: str, **more: Any) -> Quantization:
    """What the command line says with `--keep-float NAME` for each name."""
    keep = {"keep_float": list(names)} if names else {}
    return Quantization(Given(Int8, {"calibration": "random:1", **keep, **more}))


def test_options_given_are_named_as_on_the_command_line(cli: Cli, model: Path) -> None:
    words = (
        "--layer-sqnr",
        "0",
        "--keep-float",
        "a",
        "--bias-correction",
        "--save-ranges",
        "r",
        "--method",
        "mse",
    )
    refused = cli("compile", model, *words)
    assert refused.code == 2
    named = refused.err.partition(": only for")[0].removeprefix("error: ")
    assert set(named.split(", ")) == {word for word in words if word.startswith("--")}


def test_names_to_keep_in_float_are_split_at_commas() -> None:
    assert asked("/a,/b", "/c").int8().keep_float == ("/a", "/b", "/c")


def test_a_known_name_is_one_whatever_commas_it_holds() -> None:
    found = asked("/a,/b", "/c,/a").int8({"/a,/b", "/a", "/b", "/c"})
    assert found.keep_float == ("/a,/b", "/c", "/a")


@given(st.lists(st.text("ab, ;'\"$\\-", min_size=1), unique=True), st.sets(st.text("a,", min_size=1)))
def test_the_printed_option_names_the_same_layers(names: list[str], others: set[str]) -> None:
    words = shlex.split(keep_float_option(names))
    assert words[::2] == ["--keep-float"] * len(names)
    assert asked(*words[1::2]).int8(others | set(names)).keep_float == tuple(names)


def test_a_name_with_commas_keeps_its_layer_in_float(
    cli: Cli, model: Path, int8: list[str], tmp_path: Path
) -> None:
    network, names = onnx.load(model), ["/conv,1,", "/conv"]
    for node, name in zip(network.graph.node, names, strict=False):
        node.name = name
    onnx.save(network, tmp_path / "named.onnx")
    words = ["compile", tmp_path / "named.onnx", "-o", tmp_path / "q.so", *int8]
    first = cli(*words, "--keep-float", names[0])
    assert first.code == 0, first.err
    printed = first.out.splitlines()[-1]
    assert printed == f"kept in float: --keep-float {names[0]}"
    again = cli(*words, *shlex.split(printed.partition(": ")[2]), "--json").json
    assert again["quantization"]["float_layers"] == [names[0]]
    assert "'1'" in cli(*words, "--keep-float", "/conv,1").err


def test_what_is_not_given_has_its_default() -> None:
    assert asked().int8() == Int8("random:1")
    extras = Extras(mean="0.5", std="0.1,0.2,0.3")
    found = Quantization(asked("a", layer_sqnr=0.0).given, extras).int8()
    assert found.preparation is not None
    assert found == Int8("random:1", layer_sqnr=0, keep_float="a", preparation=found.preparation)
    assert found.preparation.std == (0.1, 0.2, 0.3)


def test_an_option_is_quoted_for_the_shell() -> None:
    assert keep_float_option(("/a", "/b")) == "--keep-float /a --keep-float /b"
    assert keep_float_option(("a b", "$c")) == "--keep-float 'a b' --keep-float '$c'"
    assert keep_float_option(()) == ""
