"""ONNX Runtime on its CPU provider."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import ClassVar

import numpy as np

from secateur.tools.bench.peers import qdq
from secateur.tools.bench.peers.base import Floats, Int8, Peer, Runner


class _OnnxRuntimeRunner:
    def __init__(self, model: Path, threads: int) -> None:
        ort = import_module("onnxruntime")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def run(self, x: Floats) -> Floats:
        return np.asarray(self._session.run(None, {self._input: x})[0])


class OnnxRuntime(Peer):
    name = "onnxruntime"
    modules: ClassVar = {"onnxruntime": "onnxruntime"}
    variants: ClassVar = tuple(qdq.ACTIVATIONS)

    def prepare(self, model: Path, threads: int) -> Runner:
        return _OnnxRuntimeRunner(model, threads)

    def prepare_int8(self, model: Path, threads: int, int8: Int8) -> Runner:
        return _OnnxRuntimeRunner(qdq.quantized(model, int8, int8.variant), threads)
