"""Models that ONNX Runtime has quantized, as TFLite files: their integers stay, and their answers nearly."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

import secateur
from secateur import SecateurError
from secateur.ir.errors import ModelNote
from secateur.tools.litert import real_outputs

from .small_networks import network
from .test_tflite import check_bits, litert_constants
from .tflite_networks import MOBILE, MOBILE_WEIGHTS, UNET, UNET_WEIGHTS

runtime: Any = pytest.importorskip("onnxruntime")
quantization: Any = pytest.importorskip("onnxruntime.quantization")

HEAD = "float[1,3,16,24] x"
NETWORKS = {"unet": (UNET, UNET_WEIGHTS), "mobile": (MOBILE, MOBILE_WEIGHTS)}


def image(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(1, 3, 16, 24)).astype(np.float32)


def quantized(name: str, activations: str, weights: str, per_channel: bool, folder: Path) -> Path:
    """The network with pairs of QuantizeLinear and DequantizeLinear as ONNX Runtime puts them."""
    nodes, shapes = NETWORKS[name]
    images = iter([{"x": image(seed)} for seed in range(4)])

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return next(images, None)

    onnx.save(network(nodes, shapes, HEAD), folder / "float.onnx")
    quantization.quantize_static(
        folder / "float.onnx",
        folder / "qdq.onnx",
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        activation_type=getattr(quantization.QuantType, activations),
        weight_type=getattr(quantization.QuantType, weights),
        per_channel=per_channel,
    )
    return folder / "qdq.onnx"


def sqnr(wanted: NDArray[Any], found: NDArray[Any]) -> float:
    return float(10 * np.log10((wanted**2).sum() / ((wanted - found) ** 2).sum()))


def compared(path: Path, folder: Path) -> secateur.Artifact:
    """The file, which LiteRT's reference kernels compute to the bit, and nearly as ONNX Runtime."""
    artifact = secateur.compile(path, folder / "m.tflite", "litert")
    check_bits(artifact.graph, artifact.path.read_bytes())
    (wanted,) = runtime.InferenceSession(path).run(None, {"x": image(9)})
    found = real_outputs(artifact.path, {"x": image(9)}, {"y": wanted.shape})["y"]
    assert sqnr(wanted, found) > 25
    return artifact


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("activations", "per_channel"), [("QUInt8", False), ("QInt8", True)])
def test_integers_of_another_writer_stay(
    name: str, activations: str, per_channel: bool, tmp_path: Path
) -> None:
    """Each convolution's weights stand in the file as they came; nothing is calibrated."""
    path = quantized(name, activations, "QInt8", per_channel, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ModelNote)
        artifact = compared(path, tmp_path)
    stored = litert_constants(artifact.path.read_bytes())
    model = onnx.load(path)
    came = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    kinds = {
        node.input[1].removesuffix("_DequantizeLinear_Output")
        for node in model.graph.node
        if node.op_type == "Conv"
    }
    weights = [
        array
        for array_name, array in came.items()
        if array_name.removesuffix("_quantized") in {k.removesuffix("_quantized") for k in kinds}
        and array.dtype == np.int8
        and array.ndim == 4
    ]
    assert len(weights) == sum(node.op_type == "Conv" for node in model.graph.node)
    for array in weights:
        last = array.transpose(0, 2, 3, 1)
        assert any(same(last, s) or same(array.transpose(1, 2, 3, 0), s) for s in stored)


def same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return a.shape == b.shape and bool((a == b).all())


def test_weights_with_zero_points_are_channels_met_again(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    compared(quantized("unet", "QUInt8", "QUInt8", False, tmp_path), tmp_path)
    assert not [note for note in recwarn if issubclass(note.category, ModelNote)]


def test_depthwise_weights_with_zero_points_are_rounded_anew_and_named(tmp_path: Path) -> None:
    path = quantized("mobile", "QUInt8", "QUInt8", False, tmp_path)
    with pytest.warns(ModelNote, match=r"weights of Conv.* are not stored in 8 bits without zero points"):
        compared(path, tmp_path)


BYTES = "q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z)"
SCALES: dict[str, NDArray[Any]] = {
    "s": np.array(0.1, np.float32),
    "z": np.array(0, np.int8),
    "s4": np.array([0.1, 0.2, 0.3, 0.4], np.float32),
    "z4": np.zeros(4, np.int8),
}


@pytest.mark.parametrize(
    ("behind", "reasons"),
    [
        ("y = Conv (d, w1)", ["Conv.*nothing quantizes its result"]),
        (
            "c = Conv (d, w1) u = QuantizeLinear <axis = 1> (c, s4, z4) "
            "v = DequantizeLinear <axis = 1> (u, s4, z4) y = Conv (v, w2)",
            ["its result has a scale for each channel, and TFLite has one for a tensor"],
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:weights of Conv")
def test_what_has_no_single_scale_is_named(behind: str, reasons: list[str], tmp_path: Path) -> None:
    """Between the pairs of a model that came quantized; nothing is written."""
    made = network(f"{BYTES} {behind}", {"w1": (4, 3, 3, 3), "w2": (2, 4, 1, 1)}, HEAD)
    made.graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in SCALES.items())
    onnx.save(made, tmp_path / "qdq.onnx")
    with pytest.raises(SecateurError) as refused:
        secateur.compile(tmp_path / "qdq.onnx", tmp_path / "m.tflite", "edgetpu")
    for reason in reasons:
        assert re.search(reason, str(refused.value))
    assert not (tmp_path / "m.tflite").exists()
