"""Quantization by ONNX Runtime's own tool into a QDQ model, which other engines read too."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from secateur.ir.support.atomic import replacing
from secateur.tools.bench.peers.base import Floats, Int8

ACTIVATIONS = {"u8": "QUInt8", "s8": "QInt8"}


def quantized(model: Path, int8: Int8, activations: str) -> Path:
    """The QDQ form of `model`: weights int8 per channel over the full range, activations `u8` or `s8`."""
    path = int8.beside(model, f".qdq-{activations}.onnx")
    if not path.exists():
        with replacing(path) as draft:
            _quantize(_folded(model, int8), draft, int8, activations)
    return path


def _folded(model: Path, int8: Int8) -> Path:
    """Batch normalization folded into convolutions, as the tool's documentation asks for."""
    path = int8.beside(model, ".folded.onnx")
    if not path.exists():
        prepare = import_module("onnxruntime.quantization.shape_inference").quant_pre_process
        with replacing(path) as draft:
            prepare(str(model), str(draft), skip_symbolic_shape=True)  # shapes are static already
    return path


def _quantize(model: Path, output: Path, int8: Int8, activations: str) -> None:
    tool = import_module("onnxruntime.quantization")
    tool.quantize_static(
        str(model),
        str(output),
        _Reader(int8.samples()),
        quant_format=tool.QuantFormat.QDQ,
        per_channel=True,
        reduce_range=False,
        activation_type=getattr(tool.QuantType, ACTIVATIONS[activations]),
        weight_type=tool.QuantType.QInt8,
        calibrate_method=tool.CalibrationMethod.MinMax,
    )


class _Reader:
    """Hands the tool one sample after another, as its `CalibrationDataReader` does."""

    def __init__(self, samples: list[dict[str, Floats]]) -> None:
        self._samples = iter(samples)

    def get_next(self) -> dict[str, Floats] | None:
        return next(self._samples, None)
