"""TFLite files on the command line: `run` and `bench` by LiteRT, `compare`, `inspect`, and its compiler."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

import secateur
from secateur import Int8
from secateur.codegen.backends.tflite import schema
from secateur.codegen.backends.tflite.compiler import Status, read_log
from secateur.ir.graph import Graph
from secateur.ir.interpreter import run
from secateur.ir.types import Quant

from ...codegen.backends.draw import Draw
from ...codegen.backends.litert import file_of
from ...codegen.backends.random_bytes import random_graph
from ...secateur.small_networks import RESIDUAL_WEIGHTS, network
from ..conftest import Cli


def file_at(path: Path, kind: str = "convolution") -> Path:
    path.write_bytes(file_of(random_graph(kind, 3)))
    return path


def test_a_file_is_run_and_shown(cli: Cli, tmp_path: Path) -> None:
    """Its output is the interpreter's."""
    graph, path = random_graph("convolution", 3), file_at(tmp_path / "m.tflite")
    array = np.random.default_rng(0).integers(0, 256, graph.inputs[0].type.shape).astype(np.uint8)
    np.save(tmp_path / "x.npy", array)
    done = cli("run", str(path), "--input", f"x={tmp_path / 'x.npy'}", "--output-dir", str(tmp_path / "out"))
    assert done.code == 0
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "y.npy"), run(graph, {"x": array})["y"])
    rows = cli("inspect", str(path), "--json").json["operators"]
    assert all(row["mapped"] == (row["reason"] is None) for row in rows)
    assert all(row["activations_bytes"] > 0 for row in rows)
    shown = cli("inspect", str(path)).out
    assert re.search(r"MAC +activations +weights +estimate +Edge TPU", shown)
    assert "By the table of its documentation, the Edge TPU computes" in shown


def test_a_softmax_that_aborts_litert_is_an_error(cli: Cli, tmp_path: Path) -> None:
    """Where exponentials add up to 512 its reference kernel ends a process, not ours."""
    draw = Draw(Graph(), np.random.default_rng(0))
    x = draw.bytes("x", 1, 512, quant=Quant((0.1,), (0,)))
    path = tmp_path / "m.tflite"
    path.write_bytes(file_of(draw.returned("q.tflite_softmax", [x], axis=1)))
    row = np.full((1, 512), 7, np.uint8)
    np.save(tmp_path / "even.npy", row)
    refused = cli("run", str(path), "--input", f"x={tmp_path / 'even.npy'}")
    assert refused.code == 2
    assert "the exponentials of a row, relative to its largest element, add up to 512" in refused.err
    row[0, 0] = 6
    np.save(tmp_path / "uneven.npy", row)
    assert cli("run", str(path), "--input", f"x={tmp_path / 'uneven.npy'}").code == 0


def test_an_abort_prints_no_trace() -> None:
    """Neither where Python is asked for one: the reason is said instead."""
    call = "import os; from secateur.tools.litert import in_child; in_child(os.abort, 'it ended')"
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", call], capture_output=True, text=True, check=False
    )
    assert "ModelError: it ended" in done.stderr
    assert "Fatal Python error" not in done.stderr


def test_a_file_is_timed(cli: Cli, tmp_path: Path) -> None:
    path = file_at(tmp_path / "m.tflite")
    result = cli("bench", str(path), "--iterations", "3", "--warmup", "0", "--json").json
    assert result["macs"] > 0
    assert 0 < result["seconds"]["min"] <= result["seconds"]["max"]
    assert "runs/s" in cli("bench", str(path), "--iterations", "1").out
    refused = cli("bench", str(path), "--profile")
    assert refused.code == 2
    assert "LiteRT tells no times of a TFLite file's operators" in refused.err


def test_a_file_is_compared_with_its_model(cli: Cli, tmp_path: Path) -> None:
    """Its bytes are read by its scales, in the model's order; another model's file is refused."""
    nodes = "a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1) y = Relu (a)"
    model, path = tmp_path / "m.onnx", tmp_path / "m.tflite"
    onnx.save(network(nodes, {name: RESIDUAL_WEIGHTS[name] for name in ("w1", "b1")}), model)
    secateur.compile(model, path, "litert", quantize=Int8("random:2"))
    done = cli("compare", str(model), str(path), "--min-sqnr", "20", "--atol", "1", "--json")
    (row,) = done.json["artifact_outputs"]
    assert done.code == 0
    assert row["sqnr"] > 20
    refused = cli("compare", str(model), str(file_at(tmp_path / "other.tflite", "product")))
    assert refused.code == 2
    assert "was it compiled from it?" in refused.err


@pytest.mark.parametrize("missing", ["flatbuffers", "ai_edge_litert"])
def test_a_missing_extra_is_one_message(
    missing: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every command that reads or writes such a file, with what installs it; nothing is written."""
    path, model = file_at(tmp_path / "m.tflite"), tmp_path / "m.onnx"
    onnx.save(network("y = Conv (x, w1)", {"w1": (2, 3, 1, 1)}), model)

    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named '{name}'", name=missing)

    schema.schema.cache_clear()
    monkeypatch.setattr(schema, "import_module", absent)
    made = tmp_path / "made.tflite"
    words = ("--target", "litert", "--quantize", "int8", "--calibration", "random:1", "-o", made)
    for asked in (
        ("compile", model, *words), ("inspect", path), ("run", path, "--input", "x=random:0"),
        ("bench", path), ("compare", model, path),
    ):  # fmt: skip
        done = cli(*asked)
        told = f'error: TFLite files need the package {missing}: pip install "secateur[edgetpu]"\n'
        assert (done.code, done.told) == (2, told), asked
    assert not made.exists()


# Google's compiler, and a stand-in that speaks as it does ---------------------------------------------

LOG = """\
Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 3133 ms.

Input model: m.tflite
Input size: 6.00MiB
Output model: m_edgetpu.tflite
Output size: 6.47MiB
On-chip memory used for caching model parameters: 5.90MiB
On-chip memory remaining for caching model parameters: 1.16MiB
Off-chip memory used for streaming uncached model parameters: 41.75KiB
Number of Edge TPU subgraphs: 1
Total number of operations: 84
Operation log: m_edgetpu.log

Model successfully compiled but not all operations are supported by the Edge TPU. A percentage of the model
will instead run on the CPU, which is slower.
Number of operations that will run on Edge TPU: 78
Number of operations that will run on CPU: 6

Operator                       Count      Status

CONV_2D                        32         Mapped to Edge TPU
CONV_2D                        4          More than one subgraph is not supported
QUANTIZE                       1          Operation is otherwise supported, but not mapped due to some unspecified limitation
RESIZE_NEAREST_NEIGHBOR        1          Operation version not supported
ADD                            46         Mapped to Edge TPU
See the operation log file for individual operation details.
"""  # noqa: E501  (as the compiler writes it)


def stand_in(path: Path, text: str, code: int = 0) -> Path:
    """A program that prints `text`."""
    path.write_text(f"#!/bin/sh\ncat <<'END'\n{text}END\nexit {code}\n")
    path.chmod(0o755)
    return path


def test_a_log_is_read() -> None:
    log = read_log(LOG)
    assert (log.version, log.on_chip, log.on_cpu) == ("16.0.384591198", 78, 6)
    assert log.statuses[1] == Status("CONV_2D", 4, "More than one subgraph is not supported")
    assert log.sizes == {"cached": "5.90MiB", "left": "1.16MiB", "streamed": "41.75KiB", "subgraphs": "1"}


def test_the_compiler_s_verdict_stands_beside_ours(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, page = file_at(tmp_path / "m.tflite"), tmp_path / "page.html"
    monkeypatch.setenv("EDGETPU_COMPILER", str(stand_in(tmp_path / "compiler", LOG)))
    done = cli("inspect", str(path), "--compile", "--report", str(page))
    assert done.code == 0
    assert "edgetpu_compiler 16.0.384591198: 78 operators on the chip, 6 on the CPU" in done.out
    assert "More than one subgraph is not supported" in done.out
    text = page.read_text()
    assert "More than one subgraph is not supported" in text
    assert "http" not in text, "nothing is fetched"
    found = cli("inspect", str(path), "--compile", "--json").json["compiler"]
    assert found["statuses"][0] == {"operator": "CONV_2D", "count": 32, "status": "Mapped to Edge TPU"}


def test_a_compiler_in_path_is_found(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path / "edgetpu_compiler", LOG)
    monkeypatch.delenv("EDGETPU_COMPILER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    path = file_at(tmp_path / "m.tflite")
    assert cli("inspect", str(path), "--compile", "--json").json["compiler"]["subgraphs"] == "1"


def test_what_refuses_the_compiler(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails in its own words, is none, or is missing; --compile is for files of TFLite."""
    path = file_at(tmp_path / "m.tflite")
    failing = stand_in(tmp_path / "failing", "Internal compiler error. Aborting!\n", 1)
    asked = ("inspect", str(path), "--compile")
    monkeypatch.setenv("EDGETPU_COMPILER", str(failing))
    assert "Internal compiler error. Aborting!" in cli(*asked).err
    monkeypatch.setenv("EDGETPU_COMPILER", str(tmp_path / "none"))
    assert "which is no program" in cli(*asked).err
    monkeypatch.delenv("EDGETPU_COMPILER")
    monkeypatch.setenv("PATH", "/nowhere")
    missing = cli(*asked)
    assert missing.code == 2
    assert "neither in PATH nor named by $EDGETPU_COMPILER" in missing.err
    model = tmp_path / "m.sir"
    model.write_text("")
    assert "is no TFLite file" in cli("inspect", str(model), "--compile").err


def test_a_page_shows_what_is_left_to_the_cpu(cli: Cli, tmp_path: Path) -> None:
    path, page = file_at(tmp_path / "m.tflite", "looked up"), tmp_path / "page.html"
    assert cli("inspect", str(path), "--report", str(page)).code == 0
    text = page.read_text()
    assert "GATHER is not in the table of operators" in text
    assert '<th class="number">activations</th>' in text
    assert re.search(r'<td class="number">\d+ B</td>', text)
    assert "What the compiler says" not in text
    refused = cli("inspect", str(path), "--report", str(tmp_path / "page.txt"))
    assert refused.code == 2
