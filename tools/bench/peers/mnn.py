"""MNN; in int8 from its offline quantizer."""

from __future__ import annotations

import json
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from secateur.ir.support.atomic import replacing
from secateur.tools.bench.peers.base import Floats, Int8, Peer, PeerError, Runner

# MAX_ABS and KL are the quantizer's defaults, per channel for weights.
QUANTIZER = {"input_type": "sequence", "feature_quantize_method": "KL", "weight_quantize_method": "MAX_ABS"}


class _MnnRunner:
    def __init__(self, converted: Path, threads: int) -> None:
        self._mnn = import_module("MNN")
        self._interpreter = self._mnn.Interpreter(str(converted))
        options = {"backend": "CPU", "numThread": threads, "precision": "normal"}
        self._session = self._interpreter.createSession(options)
        self._input = self._interpreter.getSessionInput(self._session)
        self._output = self._interpreter.getSessionOutput(self._session)
        self._result = self._host_tensor(np.zeros(self._output.getShape(), np.float32))

    def _host_tensor(self, array: Floats) -> Any:
        kind, order = self._mnn.Halide_Type_Float, self._mnn.Tensor_DimensionType_Caffe
        return self._mnn.Tensor(array.shape, kind, array, order)

    def run(self, x: Floats) -> Floats:
        self._input.copyFrom(self._host_tensor(x))
        self._interpreter.runSession(self._session)
        self._output.copyToHostTensor(self._result)
        return np.array(self._result.getNumpyData(), copy=True)


class Mnn(Peer):
    name = "mnn"
    modules: ClassVar = {"MNN": "mnn"}
    variants: ClassVar = ("kl",)

    def prepare(self, model: Path, threads: int) -> Runner:
        converted = model.with_suffix(".mnn")
        if not converted.exists():
            self._convert(model, converted)
        return _MnnRunner(converted, threads)

    def _convert(self, model: Path, converted: Path) -> None:
        """Calls the module below the `mnnconvert` command, which also installs packages and reports use."""
        import_module("MNN")  # loads the libraries that _tools links
        mnnconvert = import_module("_tools").mnnconvert
        with replacing(converted) as draft:
            paths = ["--modelFile", str(model), "--MNNModel", str(draft)]
            mnnconvert(["mnnconvert", "-f", "ONNX", *paths, "--bizCode", "bench"])
            if not draft.exists():
                raise PeerError("mnnconvert does not convert the model")

    def prepare_int8(self, model: Path, threads: int, int8: Int8) -> Runner:
        quantized = int8.beside(model, ".int8.mnn")
        if not quantized.exists():
            self.prepare(model, threads)  # converts
            self._quantize(model.with_suffix(".mnn"), quantized, int8.samples())
        return _MnnRunner(quantized, threads)

    def _quantize(self, converted: Path, quantized: Path, samples: list[dict[str, Floats]]) -> None:
        """Calls the module below the `mnnquant` command, which itself hands it the wrong arguments."""
        mnnquant = import_module("_tools").mnnquant
        with tempfile.TemporaryDirectory() as scratch, replacing(quantized) as draft:
            folder = Path(scratch) / "samples"
            for index, sample in enumerate(samples):
                _write_sample(folder / str(index), sample)
            options = {**QUANTIZER, "path": f"{folder}/", "used_sample_num": len(samples)}
            config = Path(scratch) / "config.json"
            config.write_text(json.dumps(options))
            mnnquant(["mnnquant", str(converted), str(draft), str(config)])
            if not draft.exists():
                raise PeerError("mnnquant does not quantize the model")


def _write_sample(folder: Path, sample: dict[str, Floats]) -> None:
    """A network's inputs in the quantizer's form: text files of values, and their shapes in JSON."""
    folder.mkdir(parents=True)
    for name, values in sample.items():
        np.savetxt(folder / f"{name}.txt", values.ravel(), fmt="%.6g")
    shapes = [{"name": name, "shape": values.shape} for name, values in sample.items()]
    (folder / "input.json").write_text(json.dumps({"inputs": shapes, "outputs": []}))
