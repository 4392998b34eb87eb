"""TFLite files on the command line: `run` by LiteRT, `inspect`, and what refuses them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from secateur.ir.interpreter import run

from ...codegen.backends.litert import file_of
from ...codegen.backends.random_bytes import random_graph
from ..conftest import Cli


def test_a_file_is_run_and_shown(cli: Cli, tmp_path: Path) -> None:
    """Its output is the interpreter's."""
    graph, path = random_graph("convolution", 3), tmp_path / "m.tflite"
    path.write_bytes(file_of(graph))
    array = np.random.default_rng(0).integers(0, 256, graph.inputs[0].type.shape).astype(np.uint8)
    np.save(tmp_path / "x.npy", array)
    done = cli("run", str(path), "--input", f"x={tmp_path / 'x.npy'}", "--output-dir", str(tmp_path / "out"))
    assert done.code == 0
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "y.npy"), run(graph, {"x": array})["y"])
    rows = cli("inspect", str(path), "--json").json["operators"]
    assert all(row["mapped"] == (row["reason"] is None) for row in rows)
    assert "By the table of its documentation, the Edge TPU computes" in cli("inspect", str(path)).out


def test_a_file_is_refused_where_it_is_no_model(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(file_of(random_graph("convolution", 3)))
    result = cli("bench", str(path))
    assert result.code == 2
    assert "is a TFLite file; `run` runs it" in result.err
