"""An artifact on this machine's GPU: run on the host's arrays, or timed on memory of the GPU's."""

from __future__ import annotations

import _ctypes
import ctypes
import os
from ctypes import byref, c_char_p, c_int, c_uint64, c_void_p
from pathlib import Path
from typing import Any

import numpy as np

from .driver import Array, Driver, DriverError

REPEATS = 10  # runs in one graph


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("name", c_char_p), ("dtype", c_int), ("rank", c_int), ("dims", ctypes.POINTER(ctypes.c_int64)),
        ("bytes", c_uint64),
    )  # fmt: skip


class Model:
    """An artifact with one state."""

    def __init__(self, path: Path) -> None:
        self.library = ctypes.CDLL(str(path.resolve()), mode=os.RTLD_LOCAL)
        for name in ("secateur_input", "secateur_output"):
            getattr(self.library, name).restype = ctypes.POINTER(_Tensor)
        self.library.secateur_message.restype = c_char_p
        self.state = c_void_p()
        self.check(self.library.secateur_create(None, byref(self.state)))
        self.inputs = self._sizes("input")
        self.outputs = self._sizes("output")

    def _sizes(self, kind: str) -> list[int]:
        count = getattr(self.library, f"secateur_{kind}_count")()
        return [getattr(self.library, f"secateur_{kind}")(i).contents.bytes for i in range(count)]

    def check(self, status: int) -> None:
        if status:
            raise DriverError(self.library.secateur_message(status).decode())

    def run(self, arrays: list[Array]) -> list[Array]:
        """On the host's arrays, and the outputs' bytes."""
        found = [np.zeros(size, np.uint8) for size in self.outputs]
        self.check(self.library.secateur_run(self.state, _pointers(arrays), _pointers(found)))
        return found

    def queue(self, inputs: list[int], outputs: list[int], stream: c_void_p) -> None:
        given, found = (c_void_p * len(inputs))(*inputs), (c_void_p * len(outputs))(*outputs)
        self.check(self.library.secateur_run_device(self.state, given, found, stream))

    def close(self) -> None:
        """The file's memory is given back, too."""
        self.library.secateur_free(self.state)
        _ctypes.dlclose(self.library._handle)


def _pointers(arrays: list[Array]) -> Any:
    return (c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))


class Ours:
    """A contestant: an artifact on memory of the GPU's."""

    def __init__(self, driver: Driver, path: Path) -> None:
        self.driver, self.model = driver, Model(path)
        self.inputs = [driver.allocate(size) for size in self.model.inputs]
        self.outputs = [driver.allocate(size) for size in self.model.outputs]
        for pointer, size in zip(self.inputs, self.model.inputs, strict=True):
            driver.send(pointer, np.full(size, 60, np.uint8))  # a small number as a float, too
        self._work()
        driver.wait()
        self.replay = driver.captured(self._work)

    def _work(self) -> None:
        for _ in range(REPEATS):
            self.model.queue(self.inputs, self.outputs, self.driver.stream)

    def __call__(self) -> float:
        return self.driver.milliseconds(self.replay) / REPEATS

    def close(self) -> None:
        self.driver.wait()
        for pointer in (*self.inputs, *self.outputs):
            self.driver("cuMemFree_v2", c_uint64(pointer))
        self.model.close()
