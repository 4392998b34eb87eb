"""gpu-check, built here and run against the stand-in for a driver."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from secateur.ir import interpreter
from secateur.ir.noise import noise
from secateur.model import read
from secateur.tools.bench import models
from secateur.tools.bench.model_builder import GraphBuilder
from secateur.tools.bench.models import names
from secateur.tools.gpu import run
from secateur.tools.gpu.build import archive, build
from secateur.tools.gpu.cases import LAYERS, NETWORKS, PRECISIONS, SMALL, asked, checks, network, timed
from secateur.tools.gpu.steps import steps_of
from tests.codegen.simt.emulator import Gpu, configure, load_dumped, stand_in


def silent(_words: str) -> None:
    """Says nothing."""


CHAINS = ["chain int8 F(4,3)", "chain fp32"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("gpu")
    index = build(place / "made", "cuda-sm_75", True, silent, place / "ir")
    assert not index["failed"]
    for dumped in (place / "ir").iterdir():
        load_dumped(dumped / "kernels")
    return place / "made"


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulator's, which is slow."""
    configure()
    monkeypatch.setattr(run, "ROUNDS", 1)
    monkeypatch.setattr(run, "REPEATS", 1)


def ran(folder: Path, *options: str) -> dict[str, Any]:
    run.main([str(folder), "--no-peers", *options])
    assert stand_in().simt_live() == 0
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return found


def test_answers_are_checked_and_groups_timed(folder: Path) -> None:
    results = ran(folder)
    assert results["about"]["device"] == "an emulator"
    assert {row["name"]: row["ok"] for row in results["checks"]} == dict.fromkeys(CHAINS, True)
    (group,) = {row["group"] for row in results["times"]}
    assert {row["who"] for row in results["times"]} == {"int8", "fp32"}
    assert all(row["ms"] >= LAYERS for row in results["times"])  # a launch takes a millisecond there
    text = (folder / "results.md").read_text()
    assert "2 answers checked, 0 wrong. cuDNN: missing" in text
    assert f"| {group} | " in text


def test_without_graphs_it_runs_too(folder: Path) -> None:
    configure(Gpu(graphs=False))
    assert len(ran(folder)["times"]) == 2


def test_a_wrong_answer_is_told(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "made")
    for path in (tmp_path / "made").glob("*.npz"):
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        arrays["output0"] = arrays["output0"] + np.float32(0.01) * np.abs(arrays["output0"]).max()
        np.savez(path, allow_pickle=False, **arrays)
    assert run.main([str(tmp_path / "made"), "--no-peers"]) == 1
    assert "2 answers checked, 2 wrong" in (tmp_path / "made" / "results.md").read_text()


def test_what_fails_is_told_and_the_rest_goes_on(folder: Path) -> None:
    stand_in().simt_fail(b"cuStreamCreate", 2, 719)  # the third is the second model's
    results = ran(folder)
    assert results["checks"][0]["ok"]
    assert "CUDA_ERROR_LAUNCH_FAILED" in results["checks"][1]["failure"]
    assert all("failure" in row for row in results["times"])


def test_when_time_is_up_the_rest_is_named(folder: Path) -> None:
    results = ran(folder, "--seconds", "0")
    assert not results["checks"]
    assert results["left_out"][:2] == CHAINS
    assert "Left out, since time was up: chain int8" in (folder / "results.md").read_text()


def test_what_is_built_is_kept_and_packed(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.so")}
    build(folder, "cuda-sm_75", True, silent)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.so")} == before
    with tarfile.open(archive(folder)) as tar:
        assert {"made/run.py", "made/index.json"} <= set(tar.getnames())


def test_the_whole_list_has_every_layer_batch_and_precision() -> None:
    found = [case.name for case in timed(quick=False)]
    assert len(set(found)) == len(found) == 9 * 3 * 4 + 3 * 3 * 3
    assert {case.precision for case in checks(quick=False)} == {c.precision for c in timed(quick=False)}


def test_a_batch_is_calibrated_on_as_many_images() -> None:
    assert {p: asked(p, 4)["quantize"].calibration for p in PRECISIONS if "int8" in p} == dict.fromkeys(
        ("int8", "int8 direct", "int8 F(4,3)"), "random:4"
    )
    assert asked("fp32", 4) == {}


def small_network() -> onnx.ModelProto:
    """One of each operator that a peer knows."""
    g = GraphBuilder("small", (2, 3, 16, 16), 0)
    x = g.relu(g.batch_norm(g.conv(g.input, "a", 8, 3, 2, 1), "an"), "ar")
    y = g.relu(g.conv(g.max_pool(x, "p", 3, 1, 1), "b", 8, 3, pad=1, bias=True), "br")
    z = g.relu(g.add(g.conv(y, "c", 8, 1, bias=True), x, "s"), "sr")
    return g.finish(g.linear(g.flatten(g.global_average_pool(z, "g")), "l", 5))


def test_a_peer_computes_the_networks_steps(tmp_path: Path) -> None:
    """In PyTorch on this machine, with the model's own weights."""
    torch = pytest.importorskip("torch")
    model = small_network()
    arrays = {w.name: torch.tensor(numpy_helper.to_array(w)) for w in model.graph.initializer}
    for name in [n for n in arrays if n.startswith("an.")]:  # folded: here it changes nothing
        arrays[name] = torch.ones_like(arrays[name]) * float(name.endswith(("weight", "var")))
    for w in model.graph.initializer:
        w.CopyFrom(numpy_helper.from_array(arrays[w.name].numpy(), w.name))
    steps = steps_of(model)
    weights = {
        node.output[0]: (arrays[node.input[1]], arrays[node.input[2]] if len(node.input) > 2 else None)
        for node in model.graph.node
        if node.op_type in ("Conv", "Gemm")
    }
    onnx.save(model, tmp_path / "small.onnx")
    graph = read(tmp_path / "small.onnx")
    given = noise(graph)
    found = run.Network(torch, steps, weights)(torch.tensor(given["input"])).detach().numpy()
    wanted = interpreter.run(graph, given)["output"]
    np.testing.assert_allclose(found, wanted, 1e-3, 1e-3)


def test_a_peer_of_unknown_operators_is_refused() -> None:
    g = GraphBuilder("odd", (1, 3, 4, 4), 0)
    with pytest.raises(ValueError, match="Constant is none of Conv, Gemm"):
        steps_of(g.finish(g.relu6(g.conv(g.input, "a", 8, 3), "r")))


def test_networks_that_are_timed_have_peers() -> None:
    for name in NETWORKS:
        steps = steps_of(models.build(name))
        assert steps[0]["inputs"] == ["input"]
        assert steps[-1]["op"] == "Gemm"


def test_filters_repeat_and_the_batch_is_asked_for() -> None:
    assert {*SMALL, *NETWORKS} <= set(names())
    model = network("squeezenet1.1", 4)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 4
