"""The digits example: its checked-in model, its images, and the way from raw digit to network input."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from secateur.tools.examples import EXAMPLES, example

FOLDER = EXAMPLES / "digits"
MODEL = FOLDER / "resnet20.onnx"


data = example("digits", "data")
export = example("digits", "export")


def one_thread_session(model: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def accuracy(images: np.ndarray, labels: np.ndarray) -> float:
    session = one_thread_session(MODEL.read_bytes())
    logits = [session.run(["logits"], {"image": image[None]})[0][0] for image in images]
    return float(np.mean(np.argmax(logits, axis=1) == labels))


def test_model_reaches_98_percent_on_the_heldout_split() -> None:
    digits = data.load_heldout()
    assert len(digits.labels) == 360
    assert accuracy(data.network_input(digits.images), digits.labels) >= 0.98


def test_accuracy_falls_for_inverted_images() -> None:
    """The oracle above can fail: wrong input is measured as worse."""
    digits = data.load_heldout()
    inverted = data.network_input(data.INK_MAX - digits.images)
    assert accuracy(inverted, digits.labels) < 0.9


def test_model_is_as_the_example_says() -> None:
    model = onnx.load(MODEL)
    counts = Counter(node.op_type for node in model.graph.node)
    assert counts == {
        "Conv": 21, "BatchNormalization": 21, "Relu": 19, "Add": 9,
        "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1,
    }  # fmt: skip
    assert model.opset_import[0].version == 17
    (image,) = model.graph.input
    (logits,) = model.graph.output
    assert (image.name, logits.name) == ("image", "logits")
    assert [d.dim_value for d in image.type.tensor_type.shape.dim] == [1, 3, 32, 32]
    assert [d.dim_value for d in logits.type.tensor_type.shape.dim] == [1, 10]
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert {"/layer1/block0/conv1/Conv", "/layer3/block0/downsample/bn/BatchNormalization"} <= set(names)


def test_exporting_the_models_own_parameters_gives_the_same_file() -> None:
    parameters = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(MODEL).graph.initializer}
    model = export.resnet20_model(parameters)
    assert model.SerializeToString(deterministic=True) == MODEL.read_bytes()


def test_code_in_the_readme_prints_the_accuracy_that_the_readme_states() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    code = readme.split("```python\n")[1].split("```")[0]
    command = [sys.executable, "-B", "-c", code]
    result = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=True, timeout=60)
    assert f"{float(result.stdout):.2%}".replace("%", " %") in readme


def test_splits_are_small_and_share_no_image() -> None:
    heldout, calibration = data.load_heldout(), data.load_calibration()
    assert len(calibration.labels) == 200
    assert set(calibration.labels) == set(heldout.labels) == set(range(10))
    assert not {i.tobytes() for i in heldout.images} & {i.tobytes() for i in calibration.images}
    assert (FOLDER / "heldout.npz").stat().st_size + (FOLDER / "calibration.npz").stat().st_size < 300_000
    assert MODEL.stat().st_size < 1_500_000


def test_network_input_has_the_shape_and_statistics_of_training() -> None:
    images = data.network_input(data.load_calibration().images)
    assert images.shape == (200, 3, 32, 32)
    assert images.dtype == np.float32
    assert images.flags.c_contiguous
    assert abs(images.mean()) < 0.05
    assert abs(images.std() - 1) < 0.05
    assert np.array_equal(images[:, 0], images[:, 1])
    assert np.array_equal(images[:, 0], images[:, 2])


def test_network_input_is_bilinear_as_onnx_defines_it() -> None:
    raw = data.load_heldout().images[:5]
    ink = data.network_input(raw)[:, :1] * data.STD + data.MEAN
    expected = resize_bilinear(raw[:, None].astype(np.float32) / 16)
    np.testing.assert_allclose(ink, expected, atol=1e-6)


def resize_bilinear(images: np.ndarray) -> np.ndarray:
    """float32 [5, 1, 8, 8] -> [5, 1, 32, 32] through ONNX's Resize, linear, half_pixel."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [5, 1, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [5, 1, 32, 32])
    scales = helper.make_tensor("scales", TensorProto.FLOAT, [4], [1, 1, 4, 4])
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="linear")
    graph = helper.make_graph([node], "resize", [x], [y], [scales])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    result: np.ndarray = one_thread_session(model.SerializeToString()).run(None, {"x": images})[0]
    return result


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 8, 8), np.float32), r"must be uint8 \[N, 8, 8\], got float32 \[2, 8, 8\]"),
        (np.zeros((8, 8), np.uint8), r"got uint8 \[8, 8\]"),
        (np.zeros((2, 32, 32), np.uint8), r"got uint8 \[2, 32, 32\]"),
        (np.full((1, 8, 8), 17, np.uint8), r"lie in 0\.\.16, got 17"),
    ],
    ids=["float", "no batch", "already 32x32", "out of range"],
)
def test_network_input_refuses(images: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        data.network_input(images)


def test_load_split_refuses_a_file_without_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", images=np.zeros((1, 8, 8), np.uint8))
    with pytest.raises(ValueError, match=r"other\.npz: no array labels"):
        data.load_split(tmp_path / "other.npz")


def test_load_split_refuses_labels_that_do_not_match(tmp_path: Path) -> None:
    np.savez(tmp_path / "odd.npz", images=np.zeros((2, 8, 8), np.uint8), labels=np.zeros(3, np.uint8))
    with pytest.raises(ValueError, match="2 images but labels of shape"):
        data.load_split(tmp_path / "odd.npz")


def test_export_refuses_missing_parameters() -> None:
    parameters = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(MODEL).graph.initializer}
    del parameters["layer2.block1.bn2.running_var"]
    with pytest.raises(ValueError, match=r"hold no layer2\.block1\.bn2\.running_var"):
        export.resnet20_model(parameters)
