"""ncnn, without the half precision that its defaults bring."""

from __future__ import annotations

import importlib.util
import subprocess
import tempfile
from importlib import import_module
from pathlib import Path
from typing import ClassVar

import numpy as np

from secateur.tools.bench.peers.base import Floats, Peer, PeerError, Runner, last_line


class _NcnnRunner:
    def __init__(self, param: Path, weights: Path, threads: int) -> None:
        self._ncnn = import_module("ncnn")
        self._net = self._ncnn.Net()
        self._net.opt.num_threads = threads
        self._net.opt.use_vulkan_compute = False
        for option in ("use_fp16_storage", "use_fp16_packed", "use_fp16_arithmetic"):
            setattr(
                self._net.opt, option, False
            )  # the default keeps weights and activations in half precision
        for status in (self._net.load_param(str(param)), self._net.load_model(str(weights))):
            if status != 0:
                raise PeerError(f"ncnn does not load the converted model (status {status})")

    def run(self, x: Floats) -> Floats:
        with self._net.create_extractor() as extractor:
            extractor.input("in0", self._ncnn.Mat(x[0]))
            status, out = extractor.extract("out0")
            if status != 0:
                raise PeerError(f"ncnn does not run the converted model (status {status})")
            return np.array(out)[None]


class Ncnn(Peer):
    """Conversion is pnnx's; of that wheel only the executable is used, which needs no torch."""

    name = "ncnn"
    modules: ClassVar = {"ncnn": "ncnn", "pnnx": "--no-deps pnnx"}
    no_int8 = "no int8 from PyPI: its wheel comes without the quantizer"

    def prepare(self, model: Path, threads: int) -> Runner:
        param, weights = model.with_suffix(".ncnn.param"), model.with_suffix(".ncnn.bin")
        if not (param.exists() and weights.exists()):
            self._convert(model, param, weights)
        return _NcnnRunner(param, weights, threads)

    def _convert(self, model: Path, param: Path, weights: Path) -> None:
        """fp16=0 keeps the weights in float32; pnnx leaves other files too, hence the scratch folder."""
        with tempfile.TemporaryDirectory(dir=model.parent) as scratch:
            folder = Path(scratch)
            copy = folder / "model.onnx"
            copy.symlink_to(model.resolve())
            outputs = [f"ncnnparam={folder / 'param'}", f"ncnnbin={folder / 'bin'}"]
            command = [str(_pnnx_executable()), str(copy), "fp16=0", *outputs]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode != 0 or not (folder / "bin").exists():
                raise PeerError(f"pnnx does not convert the model: {last_line(done.stderr + done.stdout)}")
            (folder / "param").rename(param)
            (folder / "bin").rename(weights)


def _pnnx_executable() -> Path:
    """The executable in pnnx's wheel, found without importing the package, which would want torch."""
    spec = importlib.util.find_spec("pnnx")
    if spec is None or spec.origin is None:
        raise PeerError("pnnx is not installed")
    return Path(spec.origin).with_name("pnnx")
