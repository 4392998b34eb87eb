"""Convolutions of bytes by cuDNN, which PyTorch does not offer: by the interface of the library it has.

    python -m carried.cudnn

tries one layer in a process of its own, so that what goes wrong there ends nothing else.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
from typing import Any

from .peers import Step, Timer, graphed, torch_here

_FLOAT, _INT32 = 0, 4  # cudnnDataType_t
FORMS = {"32 channels side by side": (8, 32), "4 channels side by side": (5, 4)}  # the type, and how many
_PLAIN, _VECTORS = 0, 2  # cudnnTensorFormat_t
_CORRELATION, _IMPLICIT_GEMM, _MATRICES, _AS_GIVEN, _RELU = 1, 1, 1, 1, 1
_SECONDS = 60.0
_STEP: dict[str, Any] = {"op": "Conv", "weight": [64, 64, 3, 3], "stride": 1, "pad": 1}
_TRIED = {"input": [1, 64, 8, 8], "steps": [_STEP]}


class CudnnError(RuntimeError):
    """A function of cuDNN's did not do what it was asked."""


class Cudnn:
    """The library that PyTorch has loaded; `library` stands for it in tests."""

    def __init__(self, torch: Any, library: Any = None) -> None:
        self.torch, self._library = torch, library or ctypes.CDLL(_name(torch.backends.cudnn.version()))
        self.handle = ctypes.c_void_p()
        self.call("cudnnCreate", ctypes.byref(self.handle))

    def call(self, name: str, *arguments: Any) -> None:
        """CudnnError with what the library says."""
        status = getattr(self._library, name)(*arguments)
        if status:
            raise CudnnError(f"{name}: status {status}")

    def descriptor(self, kind: str) -> ctypes.c_void_p:
        made = ctypes.c_void_p()
        self.call(f"cudnnCreate{kind}Descriptor", ctypes.byref(made))
        return made

    def tensor(self, form: int, kind: int, shape: list[int]) -> ctypes.c_void_p:
        made = self.descriptor("Tensor")
        self.call("cudnnSetTensor4dDescriptor", made, form, kind, *shape)
        return made

    def bytes(self, count: int) -> Any:
        """On the GPU, small numbers that are not all alike."""
        return self.torch.randint(-8, 8, (count,), dtype=self.torch.int8, device="cuda")

    def to_stream(self) -> None:
        stream = ctypes.c_void_p(self.torch.cuda.current_stream().cuda_stream)
        self.call("cudnnSetStream", self.handle, stream)


def _name(version: int) -> str:
    major = version // 10000 if version >= 90000 else version // 1000
    return f"libcudnn.so.{major}"


class Layer:
    """A convolution of bytes with bias and ReLU, channels in vectors; `x` is its input, or None for any."""

    def __init__(self, cudnn: Cudnn, form: str, step: Step, shape: list[int], x: Any = None) -> None:
        (kind, lanes), (filters, channels, *window) = FORMS[form], step["weight"]
        if filters % lanes or channels % lanes or channels != shape[1]:
            raise CudnnError(f"{channels} channels and {filters} filters are not in vectors of {lanes}")
        pad, stride, sides = step["pad"], step["stride"], zip(shape[2:], window, strict=True)
        self.shape = [shape[0], filters, *((side + 2 * pad - w) // stride + 1 for side, w in sides)]
        self.cudnn, self.x = cudnn, cudnn.bytes(_product(shape)) if x is None else x
        self.weights, self.y = cudnn.bytes(_product(step["weight"])), cudnn.bytes(_product(self.shape))
        self.bias = cudnn.bytes(4 * filters).zero_()
        self.given = cudnn.tensor(_VECTORS, kind, shape)
        self.made = cudnn.tensor(_VECTORS, kind, self.shape)
        self.bias_form = cudnn.tensor(_PLAIN, _FLOAT, [1, filters, 1, 1])
        self.filters = cudnn.descriptor("Filter")
        extents = (filters, channels, *window)
        cudnn.call("cudnnSetFilter4dDescriptor", self.filters, kind, _VECTORS, *extents)
        self.convolution = self._convolution(pad, stride, lanes)
        self.activation = cudnn.descriptor("Activation")
        cudnn.call("cudnnSetActivationDescriptor", self.activation, _RELU, 0, ctypes.c_double(0.0))
        self.size = self._workspace()
        self.workspace = cudnn.bytes(max(1, self.size.value))

    def _workspace(self) -> ctypes.c_size_t:
        size = ctypes.c_size_t()
        known = (self.given, self.filters, self.convolution, self.made, _IMPLICIT_GEMM, ctypes.byref(size))
        self.cudnn.call("cudnnGetConvolutionForwardWorkspaceSize", self.cudnn.handle, *known)
        return size

    def _convolution(self, pad: int, stride: int, lanes: int) -> ctypes.c_void_p:
        made, call = self.cudnn.descriptor("Convolution"), self.cudnn.call
        sides = (pad, pad, stride, stride, 1, 1)
        call("cudnnSetConvolution2dDescriptor", made, *sides, _CORRELATION, _INT32)
        call("cudnnSetConvolutionMathType", made, _MATRICES)
        if lanes == FORMS["32 channels side by side"][1]:  # else filters are put in order in each run
            call("cudnnSetConvolutionReorderType", made, _AS_GIVEN)
        return made

    def run(self) -> None:
        scale, none = ctypes.byref(ctypes.c_float(1e-3)), ctypes.byref(ctypes.c_float(0.0))
        memory = (self.x, self.weights, self.bias, self.y, self.workspace)
        x, weights, bias, y, workspace = (ctypes.c_void_p(tensor.data_ptr()) for tensor in memory)
        product = (self.given, x, self.filters, weights, self.convolution, _IMPLICIT_GEMM)
        ending = (self.made, y, self.bias_form, bias, self.activation, self.made, y)
        given = (scale, *product, workspace, self.size, none, *ending)
        self.cudnn.call("cudnnConvolutionBiasActivationForward", self.cudnn.handle, *given)


def _product(extents: list[int]) -> int:
    found = 1
    for extent in extents:
        found *= extent
    return found


def layers(cudnn: Cudnn, form: str, row: dict[str, Any]) -> list[Layer]:
    """Of a chain of convolutions, each with the ReLU behind it; CudnnError where it has something else."""
    found, shape, x = list[Layer](), row["input"], None
    for step in row["steps"]:
        if step["op"] == "Conv":
            found.append(Layer(cudnn, form, step, shape, x))
            shape, x = found[-1].shape, found[-1].y
        elif step["op"] != "Relu":
            raise CudnnError(f"no {step['op']} in bytes")
    return found


def peer_of_bytes(
    torch: Any, row: dict[str, Any], _precision: str = "int8", library: Any = None, graph: Any = graphed
) -> Timer:
    """The faster of the forms that cuDNN takes; CudnnError where it takes none."""
    cudnn, timers, why = Cudnn(torch, library), dict[float, Timer](), list[str]()
    for form in FORMS:
        try:
            timer = graph(torch, _work(cudnn, layers(cudnn, form, row)))
            timer()
            timers[timer()] = timer
        except RuntimeError as error:
            why.append(f"{form}: {error}")
    if not timers:
        raise CudnnError("; ".join(why))
    return timers[min(timers)]


def _work(cudnn: Cudnn, chain: list[Layer]) -> Any:
    def work() -> None:
        cudnn.to_stream()
        for layer in chain:
            layer.run()

    return work


def refusal() -> str:
    """Why there are no bytes by cuDNN here, or nothing: one layer is tried in a process of its own."""
    try:
        tried = subprocess.run(
            [sys.executable, "-m", __name__], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer in {_SECONDS:.0f} s"
    last = (tried.stderr.strip().splitlines() or [f"exit code {tried.returncode}"])[-1]
    return last if tried.returncode else ""


if __name__ == "__main__":
    peer_of_bytes(torch_here(), _TRIED)
