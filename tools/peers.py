"""The inference engines that the benchmark compares: Secateur and its peers from PyPI.

Each engine is one class that turns an ONNX file into a runner with a given number of threads.
Nothing is imported before it is needed, so that an engine that is not installed costs one line
in the table and nothing else. Every engine computes in float32.
"""

from __future__ import annotations

import importlib.util
import subprocess
import tempfile
from abc import ABC, abstractmethod
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class PeerError(Exception):
    """An engine cannot run a model; the message is the reason shown in the table."""


class Runner(Protocol):
    """A prepared network."""

    def run(self, x: Floats) -> Floats:
        """The network's output for one input, both float32 and row-major."""
        ...


class Peer(ABC):
    """An inference engine. `modules` maps each module it needs to the pip words that install it."""

    name: ClassVar[str]
    modules: ClassVar[dict[str, str]]

    def missing(self) -> list[str]:
        """What `pip install` needs for this engine to run here; empty when all is there."""
        return [words for module, words in self.modules.items() if importlib.util.find_spec(module) is None]

    def available(self) -> bool:
        return not self.missing()

    def version(self) -> str:
        """Version of the engine's distribution, "" where it is not installed."""
        distributions = metadata.packages_distributions().get(next(iter(self.modules)), [])
        return metadata.version(distributions[0]) if distributions else ""

    @abstractmethod
    def prepare(self, model: Path, threads: int) -> Runner:
        """Loads `model` to run on `threads` threads; conversions are kept beside the file."""


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

    def prepare(self, model: Path, threads: int) -> Runner:
        return _OnnxRuntimeRunner(model, threads)


class _OpenVinoRunner:
    def __init__(self, model: Path, threads: int) -> None:
        openvino = import_module("openvino")
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "f32",
        }
        self._request = openvino.Core().compile_model(str(model), "CPU", options).create_infer_request()

    def run(self, x: Floats) -> Floats:
        return np.array(self._request.infer([x], share_inputs=True, share_outputs=True)[0])


class OpenVino(Peer):
    name = "openvino"
    modules: ClassVar = {"openvino": "openvino"}

    def prepare(self, model: Path, threads: int) -> Runner:
        return _OpenVinoRunner(model, threads)


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
                raise PeerError(f"pnnx does not convert the model: {_last_line(done.stderr + done.stdout)}")
            (folder / "param").rename(param)
            (folder / "bin").rename(weights)


def _pnnx_executable() -> Path:
    """The executable in pnnx's wheel, found without importing the package, which would want torch."""
    spec = importlib.util.find_spec("pnnx")
    if spec is None or spec.origin is None:
        raise PeerError("pnnx is not installed")
    return Path(spec.origin).with_name("pnnx")


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

    def prepare(self, model: Path, threads: int) -> Runner:
        converted = model.with_suffix(".mnn")
        if not converted.exists():
            self._convert(model, converted)
        return _MnnRunner(converted, threads)

    def _convert(self, model: Path, converted: Path) -> None:
        """Calls the module below the `mnnconvert` command, which also installs packages and reports use."""
        import_module("MNN")  # loads the libraries that _tools links
        mnnconvert = import_module("_tools").mnnconvert
        partial = converted.with_suffix(".partial")
        paths = ["--modelFile", str(model), "--MNNModel", str(partial)]
        mnnconvert(["mnnconvert", "-f", "ONNX", *paths, "--bizCode", "bench"])
        if not partial.exists():
            raise PeerError("mnnconvert does not convert the model")
        partial.rename(converted)


class _SecateurRunner:
    def __init__(self, artifact: Path, threads: int) -> None:
        import secateur

        self._session = secateur.load(artifact, threads=threads)

    def run(self, x: Floats) -> Floats:
        return np.asarray(self._session.run({"input": x})["output"])


class Secateur(Peer):
    """Always compiled anew: the compiler is what is being measured."""

    name = "secateur"
    modules: ClassVar = {"secateur": "secateur"}

    def prepare(self, model: Path, threads: int) -> Runner:
        import secateur

        artifact = model.with_suffix(".so")
        secateur.compile(model, output=artifact, target="host")
        return _SecateurRunner(artifact, threads)


ENGINES: dict[str, Peer] = {p.name: p for p in (Secateur(), OnnxRuntime(), OpenVino(), Ncnn(), Mnn())}
PEERS = tuple(name for name in ENGINES if name != Secateur.name)


def engine(name: str) -> Peer:
    """The engine called `name`; ValueError names the known ones."""
    if name not in ENGINES:
        raise ValueError(f"unknown engine '{name}'; known: {', '.join(ENGINES)}")
    return ENGINES[name]


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it says nothing"
