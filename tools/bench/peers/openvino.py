"""OpenVINO on the CPU; in int8 from a QDQ model or from its own quantizer, NNCF."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import ClassVar

import numpy as np

from secateur.tools.bench.peers import qdq
from secateur.tools.bench.peers.base import Floats, Int8, Peer, Runner

PRESETS = {"nncf": "PERFORMANCE", "nncf-mixed": "MIXED"}  # activations symmetric, or affine


class _OpenVinoRunner:
    def __init__(self, model: Path, threads: int) -> None:
        openvino = import_module("openvino")
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "f32",  # what is not int8
        }
        self._request = openvino.Core().compile_model(str(model), "CPU", options).create_infer_request()

    def run(self, x: Floats) -> Floats:
        return np.array(self._request.infer([x], share_inputs=True, share_outputs=True)[0])


class OpenVino(Peer):
    name = "openvino"
    modules: ClassVar = {"openvino": "openvino"}
    variants: ClassVar = ("qdq", *PRESETS)
    int8_modules: ClassVar = {"qdq": {"onnxruntime": "onnxruntime"}} | {p: {"nncf": "nncf"} for p in PRESETS}

    def prepare(self, model: Path, threads: int) -> Runner:
        return _OpenVinoRunner(model, threads)

    def prepare_int8(self, model: Path, threads: int, int8: Int8) -> Runner:
        own = int8.variant in PRESETS
        return _OpenVinoRunner(_compressed(model, int8) if own else qdq.quantized(model, int8, "u8"), threads)


def _compressed(model: Path, int8: Int8) -> Path:
    """The network quantized by NNCF, with its fast bias correction."""
    path = int8.beside(model, f".{int8.variant}.xml")
    if not path.exists():
        nncf, openvino = import_module("nncf"), import_module("openvino")
        samples = int8.samples()
        preset = getattr(nncf.QuantizationPreset, PRESETS[int8.variant])
        network = openvino.Core().read_model(str(model))
        result = nncf.quantize(network, nncf.Dataset(samples), preset=preset, subset_size=len(samples))
        openvino.save_model(result, str(path), compress_to_fp16=False)
    return path
