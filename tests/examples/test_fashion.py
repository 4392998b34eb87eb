"""The fashion example: its checked-in networks are what its page says, on the images of the package."""

import re
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import secateur
from secateur.ir.onnx_reader import read_model
from secateur.tools.examples import EXAMPLES, example
from tests.sampled import sampled

FOLDER = EXAMPLES / "fashion"
NODES = {
    "resnet20": {
        "Conv": 21, "BatchNormalization": 21, "Relu": 19, "Add": 9,
        "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1,
    },
    "mobilenet": {
        "Conv": 28, "BatchNormalization": 28, "Clip": 19, "Constant": 38, "Add": 6,
        "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1,
    },
}  # fmt: skip


data = example("fashion", "data")
networks = example("fashion", "networks")
MODELS = sorted(path.stem for path in FOLDER.glob("*.onnx"))

needs_images = pytest.mark.skipif(
    not data.is_installed(), reason="Fashion-MNIST is not installed: apt-get install dataset-fashion-mnist"
)


@cache
def readme() -> str:
    return (FOLDER / "README.md").read_text(encoding="utf-8")


def stated(name: str, column: str) -> int:
    """What the table of accuracies says: images out of 10,000."""
    lines = readme().splitlines()
    header = next(line for line in lines if line.startswith("| network"))
    row = next(line for line in lines if line.startswith(f"| `{name}.onnx`") and "of 10,000" in line)
    cell = row.split("|")[[title.strip() for title in header.split("|")].index(column)]
    found = re.search(r"([\d,]+) of 10,000", cell)
    assert found is not None, cell
    return int(found[1].replace(",", ""))


def correct(session: secateur.Session, images: np.ndarray, labels: np.ndarray) -> int:
    answers = [session.run({"input": image[None]})["output"].argmax() for image in data.network_input(images)]
    return int(np.sum(np.array(answers) == labels))


@needs_images
@pytest.mark.slow
@pytest.mark.parametrize("name", sampled(MODELS, ["resnet20"]))
def test_accuracy_is_what_the_page_says(name: str, tmp_path: Path) -> None:
    """Compiled, rounding errors move an image that lies between two classes, no more than that."""
    artifact = secateur.compile(FOLDER / f"{name}.onnx", tmp_path / "network.so")
    found = correct(secateur.load(artifact.path), *data.load_test())
    assert abs(found - stated(name, "fp32")) <= 3


@needs_images
@pytest.mark.slow
@pytest.mark.parametrize("name", sampled(MODELS, ["mobilenet"]))
def test_int8_keeps_the_accuracy(name: str, tmp_path: Path) -> None:
    """On a part of the images: what int8 loses there differs from what it loses on all by chance alone."""
    quantize = secateur.Int8(str(FOLDER / "calibration.npz"), images=50)
    artifact = secateur.compile(FOLDER / f"{name}.onnx", tmp_path / "network.so", quantize=quantize)
    images, labels = data.load_test()
    found = correct(secateur.load(artifact.path), images[:2000], labels[:2000])
    assert found / 2000 == pytest.approx(stated(name, "int8") / 10000, abs=0.02)


@needs_images
@pytest.mark.parametrize("name", MODELS)
def test_accuracy_falls_for_inverted_images(name: str) -> None:
    """The oracle above can fail: wrong input is measured as worse."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(FOLDER / f"{name}.onnx", options, providers=["CPUExecutionProvider"])
    images, labels = data.load_test()
    answers = [
        session.run(None, {"input": image[None]})[0].argmax()
        for image in data.network_input(255 - images[:200])
    ]
    assert np.mean(np.array(answers) == labels[:200]) < 0.5


@needs_images
def test_images_are_as_the_page_says() -> None:
    training, test = data.load_training(), data.load_test()
    assert (training.images.shape, test.images.shape) == ((60000, 28, 28), (10000, 28, 28))
    assert np.bincount(test.labels).tolist() == [1000] * 10 == (np.bincount(training.labels) / 6).tolist()
    pixels = training.images / 255
    assert pixels.mean() == pytest.approx(data.MEAN, abs=0.001)
    assert pixels.std() == pytest.approx(data.STD, abs=0.001)
    with np.load(FOLDER / "calibration.npz") as arrays:
        few, labels = arrays["input"], arrays["labels"]
    assert (few.shape, few.dtype, labels.shape) == ((200, 1, 28, 28), np.float32, (200,))
    known = {image.tobytes(): label for image, label in zip(*training, strict=True)}
    raw = np.rint((few[:, 0] * np.float32(data.STD) + np.float32(data.MEAN)) * 255).astype(np.uint8)
    assert [known.get(image.tobytes()) for image in raw] == labels.tolist()
    np.testing.assert_array_equal(data.network_input(raw), few)


def test_missing_images_say_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "PACKAGE", tmp_path)
    assert not data.is_installed()
    with pytest.raises(FileNotFoundError, match="apt-get install dataset-fashion-mnist"):
        data.load_test()


@pytest.mark.parametrize("name", MODELS)
def test_model_is_as_the_example_says(name: str) -> None:
    path = FOLDER / f"{name}.onnx"
    model, fresh = onnx.load(path), networks.NETWORKS[name](0)
    assert Counter(node.op_type for node in model.graph.node) == NODES[name]
    assert model.graph.node == fresh.graph.node
    assert model.opset_import[0].version == 17
    assert path.stat().st_size < 1.2e6
    graph = read_model(model)
    assert [(v.name, v.type.shape) for v in graph.inputs] == [("input", (1, 1, 28, 28))]
    assert (graph.output_names, graph.outputs[0].type.shape) == (["output"], (1, 10))
    assert f"{sum(op.macs for op in graph.operators) / 1e6:.1f} million MACs" in readme()


def test_there_are_networks() -> None:
    assert "resnet20" in MODELS
