"""The benchmark of single layers: the model, the engines' own times, the processor's limits, the table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer import Typer
from typer.testing import CliRunner

from secateur.tools.bench import host_limits
from secateur.tools.bench import layers as bench_layers
from secateur.tools.bench.int8 import sqnr
from secateur.tools.bench.layer_engines import LayerEngine, OnnxRuntimeLayer, OpenVinoLayer
from secateur.tools.bench.layer_model import Layer, LayerModel
from secateur.tools.bench.layers import (
    LAYERS,
    TILES,
    Result,
    Row,
    as_json,
    as_markdown,
    cells,
    multiplications,
    notes,
    roofline,
)

SMALL = Layer(16, 32, 8)
needs_vnni = pytest.mark.skipif(not host_limits.has_vnni(), reason="needs AVX512-VNNI")


@pytest.fixture(scope="module")
def model() -> LayerModel:
    return LayerModel(SMALL)


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "layer.onnx"
    onnx.save(model, path)
    return path


def openvino(path: Path) -> LayerEngine:
    pytest.importorskip("openvino")
    return OpenVinoLayer(path, "u8")


def onnxruntime(path: Path) -> LayerEngine:
    return OnnxRuntimeLayer(path, "QLinearConv")


# ---- model and engines


@pytest.mark.parametrize("make", [openvino, onnxruntime])
def test_engines_run_the_layer_in_int8_and_time_it(
    make: Callable[[Path], LayerEngine], model: LayerModel, tmp_path: Path
) -> None:
    engine = make(saved(model.int8_model(), tmp_path))
    results = [engine.run(model.stored(model.x)) for _ in range(3)]
    assert results[0].dtype == np.uint8
    assert sqnr(model.real(results[0]), model.compute(model.x)) > 30
    times = engine.seconds()
    assert len(times) == 3
    assert all(0 <= t < 0.1 for t in times)


def test_activations_are_correlated_and_fill_the_range(model: LayerModel) -> None:
    stored = model.stored(model.x)
    assert stored.shape == (1, 16, 8, 8)
    assert stored.max() > 150
    assert 0.3 < (stored == 0).mean() < 0.7
    assert not any(np.array_equal(model.x, x) for x in model.samples)
    assert SMALL.macs == 9 * 16 * 32 * 64


def test_operator_that_was_not_run_has_no_time(model: LayerModel, tmp_path: Path) -> None:
    engine = OnnxRuntimeLayer(saved(model.float_model(), tmp_path), "QLinearConv")
    engine.run(model.x)
    with pytest.raises(ValueError, match="runs the layer without QLinearConv"):
        engine.seconds()


def test_layer_in_another_precision_is_refused(model: LayerModel, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    with pytest.raises(ValueError, match="runs the layer from f32 to f32, not in u8"):
        OpenVinoLayer(saved(model.float_model(), tmp_path), "u8")


# ---- the processor


@needs_vnni
def test_peak_and_bandwidth_are_those_of_a_processor() -> None:
    """Bounds that a loop that does nothing, or counts wrongly, breaks."""
    assert 20e9 < host_limits.vnni_peak() < 2000e9
    assert 1e9 < host_limits.read_bandwidth(1 << 20) < 1000e9


# ---- report


def row(layer: Layer = LAYERS[0]) -> Row:
    times = {"openvino fp32": 1.7, "openvino": 0.46, "onnxruntime": 0.48, "direct": 0.44, "F(2,3)": 0.3}
    distances = {"openvino fp32": 130.0, "direct": 39.0, "F(2,3)": 34.0, "F(4,3)": 21.0}
    results = [Result(name, ms, distances.get(name, 39.0), best=0.9 * ms) for name, ms in times.items()]
    results += [Result("F(4,3)", 0.2, 21.0, products=0.15, best=0.16), Result("F(4x2,3)", reason="no memory")]
    return Row(layer, tuple(results), 300e9)


def test_ratios_are_of_the_fastest_primitive_that_is_accurate_enough() -> None:
    assert row().ratio(20.0) == pytest.approx(0.46 / 0.2)
    assert row().ratio(30.0) == pytest.approx(0.46 / 0.3)
    assert row().ratio(50.0) is None
    assert row().best_ratio(20.0) == pytest.approx(0.9 * 0.46 / 0.16)
    assert row().best_ratio(50.0) is None
    assert row().float_ratio == pytest.approx(1.7 / 0.2)


def test_table_shows_times_distances_and_rates() -> None:
    line = cells(row())
    assert line[0] == "64x56x56"
    assert line[1:5] == ["1.700", "–", "0.460 (39.0)", "0.480 (39.0)"]
    assert line[5:9] == ["0.440 (39.0)", "0.300 (34.0)", "–", "0.200 (21.0)"]
    assert line[9:] == ["2.30", "1.53", "2.59", "8.50", "578", "48%", "64%"]
    assert "F(4x2,3): no memory" in notes([row()])
    assert "| 64x56x56 | 1.700 |" in as_markdown([row()], [])
    (result,) = json.loads(as_json([row()]))["results"]
    assert result["ratios"]["20.0"] == pytest.approx(2.3)


def test_multiplications_count_ragged_tiles_whole() -> None:
    layer = Layer(512, 512, 7)
    counts = [multiplications(layer, name) // 512**2 for name in TILES]
    assert counts == [9 * 49, 16 * 16, 24 * 8, 36 * 4]


@needs_vnni
def test_roofline_says_what_bounds_small_layers() -> None:
    lines = roofline(row(bench_layers.ROOFLINE))
    assert len(lines) == len(TILES)
    assert "to read 9.0 MiB of weights" in lines[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--layers", "3x3"], "unknown layer '3x3'; known: 64x56x56"), (["--rounds", "0"], "rounds")],
)
def test_command_line_refuses(arguments: list[str], message: str, tmp_path: Path) -> None:
    app = Typer()
    app.command()(bench_layers.main)
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out")], env={"COLUMNS": "300"})
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def test_processor_without_vnni_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bench_layers, "has_vnni", lambda: False)
    app = Typer()
    app.command()(bench_layers.main)
    result = CliRunner().invoke(app, ["--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "no AVX512-VNNI" in result.output
