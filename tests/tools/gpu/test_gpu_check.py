"""gpu-check, built here and run against the stand-in for a driver."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import secateur
from secateur.ir import interpreter
from secateur.ir.noise import noise
from secateur.model import read
from secateur.options import Int8
from secateur.tools.bench import models
from secateur.tools.bench.model_builder import GraphBuilder
from secateur.tools.bench.models import names
from secateur.tools.gpu import build as builder
from secateur.tools.gpu import guessed
from secateur.tools.gpu.build import archive, build
from secateur.tools.gpu.carried import artifact, contest, cudnn, main, peers
from secateur.tools.gpu.carried.items import Pace, ends
from secateur.tools.gpu.carried.results import Results
from secateur.tools.gpu.cases import LAYERS, NETWORKS, PRECISIONS, cases, chain, network
from secateur.tools.gpu.steps import steps_of
from tests.codegen.simt.emulator import Gpu, configure, llvm_alone, load_dumped, stand_in
from tests.sampled import sampled


def silent(_words: str) -> None:
    """Says nothing."""


PRIMITIVES = "primitives, cuda-sm_75, int8 F(4,3)"
CHECKS = [PRIMITIVES, "chain int8 F(4,3)", "chain fp32"]
GROUP = "4 of 16x4x4, batch 2"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("gpu")
    with llvm_alone(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder, "ptxas", lambda: None)  # it takes seconds, and the emulator runs the same
        index = build(place / "made", "cuda-sm_75", cases(quick=True), silent, place / "ir")
    assert not index["failed"]
    for dumped in (place / "ir").iterdir():
        load_dumped(dumped / "kernels")
    return place / "made"


def chain_file(folder: Path) -> Path:
    """Of one convolution."""
    onnx.save(chain(1, 4, 4, 1), folder / "one.onnx")
    return folder / "one.onnx"


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulator's, which is slow."""
    configure()
    monkeypatch.setattr(contest, "ROUNDS", 1)
    monkeypatch.setattr(artifact, "REPEATS", 1)


def ran(folder: Path, out: Path, *options: str) -> dict[str, Any]:
    assert main.main([str(folder), "--out", str(out), "--no-peers", "--here", *options]) == 0
    assert stand_in().simt_live() == 0
    found: dict[str, Any] = json.loads((out / "results.json").read_text())
    return found


@pytest.mark.parametrize("program", [Path("ptxas"), None])
def test_code_is_finished_where_it_can_be_but_for_primitives(
    program: Path | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[Path, bool] = {}

    def compiled(_graph: object, path: Path, _target: str, *, cubin: bool, **_: object) -> SimpleNamespace:
        asked[path] = cubin
        path.touch()
        return SimpleNamespace(graph=read(chain_file(tmp_path)))

    monkeypatch.setattr(builder, "ptxas", lambda: program)
    monkeypatch.setattr(secateur, "compile", compiled)
    given = [case for case in cases(quick=True) if case.target or case.precision == "fp32"]
    assert not build(tmp_path, "cuda-sm_75", given, silent)["failed"]
    assert list(asked.values()) == [False, program is not None, program is not None]


def test_answers_are_checked_and_groups_timed(folder: Path, tmp_path: Path) -> None:
    results = ran(folder, tmp_path)
    assert results["about"]["device"] == "an emulator"
    assert {row["name"]: row["ok"] for row in results["checks"]} == dict.fromkeys(CHECKS, True)
    assert {row["group"] for row in results["times"]} == {GROUP}
    assert {row["who"] for row in results["times"]} == {"int8 direct", "fp32"}
    assert all(row["ms"] >= LAYERS for row in results["times"])  # a launch takes a millisecond there
    text = (tmp_path / "results.md").read_text()
    assert "3 answers checked, 0 wrong. cuDNN: missing" in text
    assert f"| {GROUP} | " in text
    assert not list((tmp_path / "unpacked").iterdir())


def test_each_kernel_has_an_output_of_its_own(folder: Path, tmp_path: Path) -> None:
    row = next(r for r in ran(folder, tmp_path)["checks"] if r["name"] == PRIMITIVES)
    assert set(row["worst"].values()) == {0.0}
    made = {kind for name in row["worst"] for kind in name.partition("(")[2].removesuffix(")").split(" of ")}
    assert {"winograd_fused", "depthwise_strips", "grouped_gemm", "pool_blocked", "dense_blocks"} <= made


def test_what_is_done_is_not_done_again(folder: Path, tmp_path: Path) -> None:
    ran(folder, tmp_path)
    launches = stand_in().simt_launches()
    again = ran(folder, tmp_path)
    assert stand_in().simt_launches() == launches
    assert [row["name"] for row in again["checks"]] == CHECKS


def test_without_graphs_it_runs_too(folder: Path, tmp_path: Path) -> None:
    configure(Gpu(graphs=False))
    assert len(ran(folder, tmp_path)["times"]) == 2


def test_a_wrong_answer_is_told(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "made")
    for path in (tmp_path / "made").glob("*.npz"):
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        arrays["output0"] = arrays["output0"] + np.float32(0.01) * np.abs(arrays["output0"]).max()
        np.savez(path, allow_pickle=False, **arrays)
    results = ran(tmp_path / "made", tmp_path)
    assert [row["ok"] for row in results["checks"]] == [False] * 3
    text = (tmp_path / "results.md").read_text()
    assert "3 answers checked, 3 wrong" in text
    told = rf"\* {re.escape(PRIMITIVES)}: of its largest magnitude differs output \(.*\) by 0\.0"
    assert re.search(told, text)


def test_what_fails_is_told_and_the_rest_goes_on(folder: Path, tmp_path: Path) -> None:
    stand_in().simt_fail(b"cuStreamCreate", 2, 719)  # the third is the second model's
    results = ran(folder, tmp_path)
    assert results["checks"][0]["ok"]
    assert "CUDA_ERROR_LAUNCH_FAILED" in results["checks"][1]["failure"]
    assert all("failure" in row for row in results["times"])


def test_when_time_is_up_the_rest_is_named(folder: Path, tmp_path: Path) -> None:
    results = ran(folder, tmp_path, "--seconds", "0")
    assert not results["checks"]
    assert results["left_out"] == [PRIMITIVES, GROUP, *CHECKS[1:]]
    assert f"Left out, since time was up: {PRIMITIVES}" in (tmp_path / "results.md").read_text()


def test_a_part_without_time_leaves_the_next_ones_theirs() -> None:
    found = ends(480.0)
    assert list(found) == ["primitives", "layers", "answers", "networks"]
    assert list(found.values()) == [90, 310, 360, 480]
    assert list(ends(48.0).values()) == [9, 31, 36, 48]


def test_estimates_follow_what_items_take() -> None:
    pace = Pace()
    assert pace(2.0) == 2.0
    pace.add(2.0, 6.0)
    assert pace(1.0) == 3.0


WORKER = """
import sys, json, pathlib
sys.path.insert(0, {repository!r})
from secateur.tools.gpu.carried.results import Results
results = Results(pathlib.Path({out!r}))
for name in ("a", "b", "c"):
    if name not in results.data["done"]:
        results.data["begun"] = {{"name": name, "check": name != "c"}}
        results.write()
        if name == "b":
            {ending}
        results.finish(name)
"""


@pytest.mark.parametrize(
    ("ending", "code"),
    [("import os; os.abort()", -6), ("sys.exit(3)", 3), ("import time; time.sleep(60)", -9)],
)
def test_an_item_that_ends_its_process_is_named_and_the_rest_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, code: int
) -> None:
    monkeypatch.setattr(main, "STALL", 3.0)
    text = WORKER.format(repository=str(Path(secateur.__file__).parents[1]), out=str(tmp_path), ending=ending)
    assert main.supervised([sys.executable, "-c", text], tmp_path) == 0
    results = Results(tmp_path)
    assert results.data["done"] == ["a", "b", "c"]
    assert [row["failure"] for row in results.data["checks"]] == [f"its process ended with {code}"]
    assert results.data["spent"] > 0


def test_where_no_process_lives_it_gives_up(tmp_path: Path) -> None:
    assert main.supervised([sys.executable, "-c", "raise SystemExit(5)"], tmp_path) == 5


def test_what_is_carried_needs_nothing_of_ours(tmp_path: Path) -> None:
    """Without a driver it says so."""
    shutil.copytree(Path(main.__file__).parent, tmp_path / "carried")
    (tmp_path / "index.json").write_text('{"rows": []}')
    code = "import sys, runpy; sys.modules['secateur'] = None; runpy.run_module('carried')"
    command = [sys.executable, "-c", code, "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "take the archive to where there is one" in done.stdout


def test_what_is_built_is_kept_and_packed(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*.xz")}
    build(folder, "cuda-sm_75", cases(quick=True), silent)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.xz")} == before
    with tarfile.open(archive(folder)) as tar:
        names = set(tar.getnames())
    assert {"made/carried/main.py", "made/index.json"} <= names
    assert sum(name.endswith(".so.xz") for name in names) == 5


def test_the_whole_list_has_every_layer_batch_and_precision() -> None:
    found = list(cases(quick=False))
    assert len({case.name for case in found}) == len(found)
    count = Counter(case.part for case in found)
    assert count == {"primitives": 12, "layers": 9 * 3 * 4, "networks": 3 * 3 * 3, "answers": 4}
    assert {case.precision for case in found} == set(PRECISIONS)


@pytest.mark.parametrize("precision", ["int8 direct", "int8 F(4,3)", "int8"])
def test_what_is_timed_is_quantized_without_being_run(
    precision: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With the tiles that are asked for."""
    monkeypatch.setattr(interpreter, "run", None)
    onnx.save(chain(2, 32, 8, 3), path := tmp_path / "chain.onnx")
    int8 = PRECISIONS[precision]["quantize"]
    assert isinstance(int8, Int8)
    graph = guessed.quantized(read(path), "cuda-sm_75", int8)
    names = Counter(op.name for op in graph.operators)
    assert names["q.linear_conv"] + names["q.winograd_conv"] == 3
    assert (names["q.winograd_conv"] > 0) == (precision == "int8 F(4,3)")


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
    found = peers.Network(torch, steps, weights)(torch.tensor(given["input"])).detach().numpy()
    wanted = interpreter.run(graph, given)["output"]
    np.testing.assert_allclose(found, wanted, 1e-3, 1e-3)


def test_a_peer_of_unknown_operators_is_refused() -> None:
    g = GraphBuilder("odd", (1, 3, 4, 4), 0)
    with pytest.raises(ValueError, match="Constant is none of Conv, Gemm"):
        steps_of(g.finish(g.relu6(g.conv(g.input, "a", 8, 3), "r")))


@pytest.mark.parametrize("network_name", sampled(NETWORKS, [*NETWORKS][:1]))
def test_networks_that_are_timed_have_peers(network_name: str) -> None:
    steps = steps_of(models.build(network_name))
    assert steps[0]["inputs"] == ["input"]
    assert steps[-1]["op"] == "Gemm"


def test_filters_repeat_and_the_batch_is_asked_for() -> None:
    assert {"mobilenet-v2", *NETWORKS} <= set(names())
    model = network("squeezenet1.1", 4)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 4


class Library:
    """Stands for cuDNN: tells what was called, and refuses what it is told to."""

    def __init__(self, refused: str = "") -> None:
        self.refused, self.calls = refused, list[tuple[str, tuple[Any, ...]]]()

    def __getattr__(self, name: str) -> Any:
        def function(*arguments: Any) -> int:
            self.calls.append((name, arguments))
            return 9 if name == self.refused else 0

        return function

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [arguments for called, arguments in self.calls if called == name]


def torch_with_gpu() -> Any:
    """What of PyTorch cuDNN's convolutions need."""
    memory = SimpleNamespace(data_ptr=lambda: 64)
    memory.zero_ = lambda: memory
    stream = SimpleNamespace(cuda_stream=5)
    cuda = SimpleNamespace(current_stream=lambda: stream)
    return SimpleNamespace(randint=lambda *_, **__: memory, int8=None, cuda=cuda)


def at_once(_torch: Any, work: Any) -> Any:
    """For `graphed`."""

    def timed() -> float:
        work()
        return 1.0

    return timed


CHAIN = {"input": [2, 64, 14, 14], "steps": steps_of(chain(2, 64, 14, 2))}


def test_chains_of_bytes_have_a_peer_in_cudnn() -> None:
    library = Library()
    assert cudnn.peer_of_bytes(torch_with_gpu(), CHAIN, library=library, graph=at_once)() == 1.0
    shapes = {call[1:] for call in library.named("cudnnSetTensor4dDescriptor")}
    assert shapes == {(2, 8, 2, 64, 14, 14), (2, 5, 2, 64, 14, 14), (0, 0, 1, 64, 1, 1)}
    assert {call[1:] for call in library.named("cudnnSetFilter4dDescriptor")} == {
        (8, 2, 64, 64, 3, 3), (5, 2, 64, 64, 3, 3)
    }  # fmt: skip
    assert len(library.named("cudnnSetConvolutionReorderType")) == 2
    assert len(library.named("cudnnConvolutionBiasActivationForward")) == 2 * (2 + 2 + 1)


def test_what_cudnn_refuses_is_told() -> None:
    library = Library("cudnnConvolutionBiasActivationForward")
    with pytest.raises(cudnn.CudnnError, match=r"32 channels.*Forward: status 9; 4 channels"):
        cudnn.peer_of_bytes(torch_with_gpu(), CHAIN, library=library, graph=at_once)
    narrow = {"input": [1, 6, 9, 9], "steps": steps_of(chain(1, 6, 9, 1))}
    with pytest.raises(cudnn.CudnnError, match="6 channels and 6 filters are not in vectors of 32"):
        cudnn.peer_of_bytes(torch_with_gpu(), narrow, library=Library(), graph=at_once)
    pooled = {"input": [1, 64, 9, 9], "steps": [{"op": "MaxPool"}]}
    with pytest.raises(cudnn.CudnnError, match="no MaxPool in bytes"):
        cudnn.peer_of_bytes(torch_with_gpu(), pooled, library=Library(), graph=at_once)


def test_cudnn_is_tried_in_a_process_of_its_own() -> None:
    assert "has no attribute 'backends'" in cudnn.refusal()  # there is no GPU here
