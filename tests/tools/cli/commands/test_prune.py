"""`secateur prune`: what it writes, says and refuses."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

from secateur import read
from secateur.ir.graph import Graph
from secateur.ir.interpreter import run
from secateur.passes.prune.kept import read_kept
from tests.sampled import sampled_rows

from ...conftest import Cli
from .test_quantize import heed_interrupts

TARGET = ("--target", "rpi4")
TEXT = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[1,3,8,8] x) => (float[1,5] y) {
  a = Conv <kernel_shape=[3,3], pads=[1,1,1,1]> (x, w1, b1)
  b = Relu (a)
  c = Conv <kernel_shape=[3,3], pads=[1,1,1,1]> (b, w2)
  d = Relu (c)
  e = GlobalAveragePool (d)
  f = Flatten (e)
  y = Gemm <transB=1> (f, w3, b3)
}
"""
SHAPES = {"w1": (32, 3, 3, 3), "b1": (32,), "w2": (24, 32, 3, 3), "w3": (5, 24), "b3": (5,)}
ONLY = """
<ir_version: 8, opset_import: ["" : 17]>
only (float[1,3,8,8] x) => (float[1,4,6,6] y) { y = Conv (x, w) }
"""


def saved(text: str, shapes: dict[str, tuple[int, ...]], path: Path) -> Path:
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(5)
    for name, shape in shapes.items():
        array = rng.standard_normal(shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two convolutions of 32 and 24 filters and a classifier, as ONNX."""
    return saved(TEXT, SHAPES, tmp_path_factory.mktemp("net") / "net.onnx")


@pytest.fixture(scope="module")
def images(net: Path) -> Path:
    """Inputs with the labels that the network gives them."""
    x = np.random.default_rng(3).standard_normal((16, 3, 8, 8)).astype(np.float32)
    graph = read(net)
    labels = [int(np.argmax(run(graph, {"x": image[None]})["y"])) for image in x]
    np.savez(net.with_name("images.npz"), x=x, labels=np.array(labels))
    return net.with_name("images.npz")


def macs(graph: Graph) -> int:
    return sum(op.macs for op in graph.operators)


# What it does --------------------------------------------------------------------------------------


def test_a_pruned_model_keeps_the_limit_and_is_written_with_all_that_was_asked_for(
    cli: Cli, net: Path, tmp_path: Path
) -> None:
    out, page, kept = tmp_path / "out.onnx", tmp_path / "page.html", tmp_path / "kept.json"
    words = ("--macs", "50%", "-o", out, "--report", page, "--save-kept", kept)
    result = cli("prune", net, *TARGET, *words)
    assert result.code == 0, result.err
    assert 0 < macs(read(out)) <= macs(read(net)) / 2
    assert "1 layer" not in result.told
    for said in (
        "channels",
        "MACs",
        "importance",
        f"model: {out}",
        f"report: {page}",
        f"kept indices: {kept}",
    ):
        assert said in result.out
    assert page.read_text().startswith("<!doctype html>")
    onnx.checker.check_model(str(out), full_check=True)


def test_the_side_file_tells_what_became_of_every_initializer(cli: Cli, net: Path, tmp_path: Path) -> None:
    out, side = tmp_path / "out.onnx", tmp_path / "kept.json"
    assert cli("prune", net, *TARGET, "--macs", "50%", "-o", out, "--save-kept", side).code == 0
    kept = read_kept(side)
    before, after = (
        {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer} for path in (net, out)
    )
    assert before.keys() <= after.keys()
    assert all(after[name].dtype == np.int64 for name in after.keys() - before.keys())  # shapes
    for name, array in before.items():
        for axis, indices in kept.get(name, {}).items():
            array = np.take(array, indices, axis)
        np.testing.assert_array_equal(after[name], array)


TWINS = """
<ir_version: 8, opset_import: ["" : 17]>
twins (float[1,3,8,8] x) => (float[1,2,8,8] y) {
  a = Conv <kernel_shape=[3,3], pads=[1,1,1,1]> (x, w1, b1)
  b = Relu (a)
  c = Conv <kernel_shape=[3,3], pads=[1,1,1,1]> (b, w2, b2)
  d = Relu (c)
  y = Conv (d, w3)
}
"""


def test_equal_initializers_keep_their_names(cli: Cli, tmp_path: Path) -> None:
    shapes = {"w1": (16, 3, 3, 3), "b1": (16,), "w2": (16, 16, 3, 3), "b2": (16,), "w3": (2, 16, 1, 1)}
    model = saved(TWINS, shapes, tmp_path / "twins.onnx")
    proto = onnx.load(model)
    for tensor in proto.graph.initializer:
        if tensor.name in ("b1", "b2"):
            tensor.CopyFrom(numpy_helper.from_array(np.ones(16, np.float32), tensor.name))
    onnx.save(proto, model)
    out, side = tmp_path / "out.onnx", tmp_path / "kept.json"
    assert cli("prune", model, *TARGET, "--macs", "50%", "-o", out, "--save-kept", side).code == 0
    after = {t.name: tuple(t.dims) for t in onnx.load(out).graph.initializer}
    kept = read_kept(side)
    assert after.keys() == shapes.keys()
    for name, shape in shapes.items():
        wanted = [len(kept.get(name, {}).get(axis, range(n))) for axis, n in enumerate(shape)]
        assert list(after[name]) == wanted
    assert after["b1"] != (16,) or after["b2"] != (16,)


def test_repaired_on_data_it_answers_nearer(cli: Cli, net: Path, images: Path, tmp_path: Path) -> None:
    plain, repaired = tmp_path / "plain.onnx", tmp_path / "repaired.onnx"
    words = ("prune", net, *TARGET, "--macs", "60%", "--data", images, "--criterion", "l2", "-o")
    assert cli(*words, plain, "--no-repair").code == 0
    result = cli(*words, repaired)
    assert result.code == 0, result.err
    assert "with 2 layers repaired" in result.out
    x = np.load(images)["x"]
    wanted, *answers = (
        np.concatenate([run(graph, {"x": image[None]})["y"] for image in x])
        for graph in map(read, (net, plain, repaired))
    )
    errors = [float(np.square(answer - wanted).sum()) for answer in answers]
    assert errors[1] < errors[0]


def test_a_dry_run_says_the_same_and_writes_nothing(
    cli: Cli, net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("prune", net, *TARGET, "--macs", "50%")
    dry = cli(*words, "--dry-run")
    assert dry.code == 0, dry.err
    assert list(tmp_path.iterdir()) == []
    real = cli(*words)
    assert [path.name for path in tmp_path.iterdir()] == ["net.pruned.onnx"]
    assert real.out == dry.out + "model: net.pruned.onnx\n"


def test_json_and_nothing_else(cli: Cli, net: Path) -> None:
    data = cli("prune", net, *TARGET, "--macs", "50%", "--dry-run", "--json").json
    assert data["output"] is None
    assert data["after"]["macs"] <= data["before"]["macs"] / 2
    assert {group["name"] for group in data["groups"]}


def test_what_may_go_is_explained_without_a_limit(cli: Cli, net: Path) -> None:
    result = cli("prune", net, "--explain")
    assert result.code == 0, result.err
    assert "2 groups, 56 channels that may go" in result.out
    assert "it is part of the graph output 'y'" in result.out


def test_a_limit_on_accuracy_alone_looks_for_the_smallest_network(
    cli: Cli, net: Path, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.onnx"
    words = ("--max-drop", "20", "--data", images, "-o", out, "--json")
    data = cli("prune", net, *TARGET, *words).json
    assert data["accuracy"]["before"] == 100
    assert data["accuracy"]["after"] >= 80
    assert data["after"]["seconds"] < data["before"]["seconds"]
    assert macs(read(out)) == data["after"]["macs"]


# What cannot be done -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "nearest"), [(("--latency", "1ns"), r"[\d.]+us"), (("--size", "8B"), r"\d+ bytes")]
)
def test_a_limit_that_cannot_be_met_names_the_nearest(
    cli: Cli, net: Path, tmp_path: Path, limit: tuple[str, str], nearest: str
) -> None:
    out = tmp_path / "out.onnx"
    out.write_text("as it was")
    result = cli("prune", net, *TARGET, *limit, "-o", out)
    assert result.code == 2
    assert re.search(f"the least possible is {nearest}", result.told)
    assert "Traceback" not in result.err
    assert out.read_text() == "as it was"
    assert [path.name for path in tmp_path.iterdir()] == ["out.onnx"]


def test_nothing_to_prune_says_why(cli: Cli, tmp_path: Path) -> None:
    only = saved(ONLY, {"w": (4, 3, 3, 3)}, tmp_path / "only.onnx")
    result = cli("prune", only, *TARGET, "--macs", "50%", "-o", tmp_path / "out.onnx")
    assert result.code == 2
    assert "nothing to prune" in result.told
    assert "it is part of the graph output 'y'" in result.told
    assert not (tmp_path / "out.onnx").exists()


def test_all_kept_leaves_nothing_to_prune(cli: Cli, net: Path) -> None:
    result = cli("prune", net, *TARGET, "--macs", "50%", "--keep", "*", "--dry-run")
    assert result.code == 2
    assert "every group of channels is to be kept" in result.told


def test_a_node_that_is_kept_keeps_its_channels(cli: Cli, net: Path) -> None:
    free, kept = (
        cli("prune", net, *TARGET, "--macs", "70%", *words, "--dry-run", "--json").json
        for words in ((), ("--keep", "Relu*1"))
    )
    assert [group["name"] for group in free["groups"]] == ["Conv#0", "Conv#2"]
    assert [group["name"] for group in kept["groups"]] == ["Conv#2"]


def test_a_node_to_keep_that_is_not_there_is_refused(cli: Cli, net: Path) -> None:
    result = cli("prune", net, *TARGET, "--macs", "50%", "--keep", "Conv#1", "--dry-run")
    assert result.code == 2
    assert "keep: no operator comes from an ONNX node 'Conv#1'; did you mean 'Conv#" in result.told


def test_images_of_another_shape_are_one_clear_error(cli: Cli, net: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "small.npz", x=np.zeros((4, 3, 7, 7), np.float32))
    result = cli("prune", net, *TARGET, "--macs", "50%", "--data", tmp_path / "small.npz", "--dry-run")
    assert result.code == 2
    assert result.told.count("error:") == 1
    assert "small.npz" in result.told
    assert "7" in result.told
    assert "8" in result.told


def test_accuracy_without_labels_is_refused(cli: Cli, net: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "unlabelled.npz", x=np.zeros((4, 3, 8, 8), np.float32))
    words = ("--max-drop", "1", "--data", tmp_path / "unlabelled.npz", "--dry-run")
    result = cli("prune", net, *TARGET, *words)
    assert result.code == 2
    assert "label" in result.told


@pytest.mark.parametrize("label", [5, -1])
def test_labels_that_are_no_classes_are_refused(cli: Cli, net: Path, tmp_path: Path, label: int) -> None:
    """Instead of an accuracy of nothing, of which pruning loses nothing."""
    x = np.zeros((4, 3, 8, 8), np.float32)
    np.savez(tmp_path / "images.npz", x=x, labels=np.array([0, 1, 2, label]))
    result = cli("prune", net, *TARGET, "--max-drop", 1, "--data", tmp_path / "images.npz", "--no-repair",
                 "--criterion", "l2", "--dry-run")  # fmt: skip
    assert result.code == 2
    assert f"label {label} is no class: the network tells 5 apart, which are 0 to 4" in result.err


def test_an_accuracy_that_is_not_kept_gives_1_and_writes_nothing(
    cli: Cli, net: Path, images: Path, tmp_path: Path
) -> None:
    with np.load(images) as arrays:
        np.savez(tmp_path / "few.npz", x=arrays["x"], labels=arrays["labels"])
    words = ("--macs", "10%", "--max-drop", "0", "--no-repair", "--data", tmp_path / "few.npz")
    result = cli("prune", net, *TARGET, *words, "-o", tmp_path / "out.onnx")
    assert result.code == 1
    assert "accuracy falls from 100.00 %" in result.told
    assert not (tmp_path / "out.onnx").exists()


# Options that are refused before any work ----------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "give one of macs"),
        (["--macs", "half"], "50%"),
        (["--latency", "20"], "time with its unit"),
        (["--macs", "50%", "--criterion", "nope"], "nope"),
        (["--macs", "50%", "--report", "page.pdf"], "suffix"),
        (["--macs", "50%", "-o", "none/out.onnx"], "none"),
        (["--macs", "50%", "--save-kept", "none/kept.json"], "none"),
        (["--macs", "50%", "--data", "none.npz"], "none.npz"),
        (["--macs", "50%", "--costs", "none.json"], "none.json"),
        (["--macs", "50%", "--target", "nope"], "nope"),
        (["--max-drop", "1"], "label"),
    ],
)
def test_bad_options_are_refused_before_work(
    cli: Cli, net: Path, words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli("prune", net, *words)
    assert result.code == 2
    assert says in result.told
    assert "reading" not in result.err
    assert "Traceback" not in result.err
    assert list(tmp_path.iterdir()) == []


def test_a_quantized_model_is_refused(cli: Cli, net: Path, tmp_path: Path) -> None:
    int8 = tmp_path / "int8.onnx"
    assert cli("quantize", net, "-o", int8, "--calibration", "random:2", *TARGET).code == 0
    result = cli("prune", int8, *TARGET, "--macs", "50%", "--dry-run")
    assert result.code == 2
    assert "quantized already" in result.told


def test_what_the_loss_says_needs_labelled_images(cli: Cli, net: Path) -> None:
    result = cli("prune", str(net), "--macs", "50%", "--criterion", "taylor", *TARGET, "--dry-run")
    assert result.code == 2
    assert "--criterion taylor differentiates the loss on labelled images; give some (--data)" in result.err


def test_channels_are_ranked_by_what_the_loss_says(cli: Cli, net: Path, images: Path) -> None:
    pytest.importorskip("torch", reason="gradients are PyTorch's; make test-train installs it")
    words = ["--macs", "50%", "--criterion", "taylor", "--data", str(images), "--dry-run"]
    result = cli("prune", str(net), *words, *TARGET)
    assert result.code == 0, result.err
    assert "(taylor)" in result.out


def test_noise_is_said_to_be_noise(cli: Cli, net: Path) -> None:
    result = cli("prune", str(net), "--macs", "50%", "--data", "random:4", *TARGET, "--dry-run")
    assert result.code == 0, result.err
    assert "warning: the data is noise" in result.out


def test_opened_sums_are_explained_where_they_are_asked_for(cli: Cli, tmp_path: Path) -> None:
    block = """
    <ir_version: 8, opset_import: ["" : 17]>
    net (float[1,4,8,8] x) => (float[1,5] y) {
      s = Conv <kernel_shape=[1,1]> (x, w0)
      a = Conv <kernel_shape=[3,3], pads=[1,1,1,1]> (s, w1)
      b = Add (a, s)
      e = GlobalAveragePool (b)
      f = Flatten (e)
      y = Gemm (f, w2)
    }
    """
    shapes = {"w0": (8, 4, 1, 1), "w1": (8, 8, 3, 3), "w2": (8, 5)}
    path = str(saved(block, shapes, tmp_path / "block.onnx"))
    assert "1 group" in cli("prune", path, "--explain").out
    opened = cli("prune", path, "--explain", "--space", "aggressive").out
    assert "1 group" not in opened
    assert "carried" in opened


# What is there before, and what an interrupt leaves --------------------------------------------------


def test_the_model_itself_is_not_written_over(cli: Cli, net: Path, tmp_path: Path) -> None:
    model, link = tmp_path / "net.onnx", tmp_path / "link.onnx"
    model.write_bytes(net.read_bytes())
    link.symlink_to(model)
    for words in (("-o", model), ("-o", link), ("--save-kept", model)):
        refused = cli("prune", model, *TARGET, "--macs", "50%", *words)
        assert refused.code == 2
        assert f"error: {words[1]}: is the model itself; name another file" in refused.err
    assert model.read_bytes() == net.read_bytes()
    assert sorted(tmp_path.iterdir()) == [link, model]


def test_two_outputs_are_two_files(cli: Cli, net: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    refused = cli(
        "prune", net, *TARGET, "--macs", "50%", "-o", out, "--save-kept", tmp_path / "." / "out.json"
    )
    assert refused.code == 2
    assert "two outputs would be written there" in refused.err
    assert not out.exists()


SLOW_REPAIR = """
import sys, time
from secateur.passes.prune import search
from secateur.tools.cli.main import main

repair = search.repair

def slow(*given, **more):
    print("repairing", file=sys.stderr, flush=True)
    time.sleep(60)
    return repair(*given, **more)

search.repair = slow
main()
"""


ENDS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.mark.parametrize(("number", "code"), sampled_rows(ENDS, lambda number, _: number == signal.SIGINT))
def test_an_interrupt_leaves_no_file_and_says_so(
    net: Path, images: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    old = tmp_path / "out.onnx"
    old.write_bytes(b"from before")
    words = ["prune", net, *TARGET, "--macs", "50%", "--data", images, "-o", old, "--no-blocks",
             "--save-kept", tmp_path / "kept.json", "--report", tmp_path / "page.html"]  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-c", SLOW_REPAIR, *map(str, words)],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, preexec_fn=heed_interrupts,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        while process.stderr.readline() not in ("repairing\n", ""):
            pass
        process.send_signal(number)
        rest = process.stderr.read()
    assert process.returncode == code, rest
    assert "Traceback" not in rest
    assert "interrupted: nothing was written" in rest
    assert list(tmp_path.iterdir()) == [old]
    assert old.read_bytes() == b"from before"
