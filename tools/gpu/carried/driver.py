"""CUDA's driver, by ctypes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import byref, c_float, c_int, c_size_t, c_uint64, c_void_p
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


class DriverError(Exception):
    """The driver failed, or a model said that it cannot run."""


class Driver:
    """What is used of CUDA's driver, on the first GPU's primary context."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL("libcuda.so.1")
        self.context, self.stream, device = c_void_p(), c_void_p(), c_int()
        self("cuInit", 0)
        self("cuDeviceGet", byref(device), 0)
        self("cuDevicePrimaryCtxRetain", byref(self.context), device)
        self("cuCtxPushCurrent_v2", self.context)
        self("cuStreamCreate", byref(self.stream), 1)
        self.device = device
        self.begin, self.end = self.event(), self.event()

    def __call__(self, name: str, *arguments: Any) -> None:
        result = getattr(self.library, name)(*arguments)
        if result:
            raise DriverError(f"{name}: CUDA error {result}")

    def close(self) -> None:
        for event in (self.begin, self.end):
            self("cuEventDestroy_v2", event)
        self("cuStreamDestroy_v2", self.stream)
        self("cuCtxPopCurrent_v2", byref(c_void_p()))
        self("cuDevicePrimaryCtxRelease", self.device)

    def event(self) -> c_void_p:
        made = c_void_p()
        self("cuEventCreate", byref(made), 0)
        return made

    def about(self) -> dict[str, Any]:
        name, version, major, minor = ctypes.create_string_buffer(128), c_int(), c_int(), c_int()
        self("cuDeviceGetName", name, 128, self.device)
        self("cuDriverGetVersion", byref(version))
        self("cuDeviceGetAttribute", byref(major), 75, self.device)
        self("cuDeviceGetAttribute", byref(minor), 76, self.device)
        cuda = f"{version.value // 1000}.{version.value % 1000 // 10}"
        return {"device": name.value.decode(), "architecture": f"sm_{major.value}{minor.value}", "cuda": cuda}

    def allocate(self, size: int) -> int:
        pointer = c_uint64()
        self("cuMemAlloc_v2", byref(pointer), c_size_t(max(1, size)))
        return pointer.value

    def send(self, pointer: int, array: Array) -> None:
        size = c_size_t(array.nbytes)
        self("cuMemcpyHtoDAsync_v2", c_uint64(pointer), c_void_p(array.ctypes.data), size, self.stream)
        self.wait()

    def wait(self) -> None:
        self("cuStreamSynchronize", self.stream)

    def captured(self, work: Callable[[], None]) -> Callable[[], None]:
        """What replays `work` as one graph, or `work` where the driver has none."""
        graph, replay = c_void_p(), c_void_p()
        try:
            self("cuStreamBeginCapture_v2", self.stream, 2)
            work()
            self("cuStreamEndCapture", self.stream, byref(graph))
            self("cuGraphInstantiate", byref(replay), graph, None, None, c_size_t(0))
            self("cuGraphDestroy", graph)
        except DriverError:
            return work
        return lambda: self("cuGraphLaunch", replay, self.stream)

    def milliseconds(self, work: Callable[[], None]) -> float:
        """Of work queued on the stream, by events."""
        ms = c_float()
        self("cuEventRecord", self.begin, self.stream)
        work()
        self("cuEventRecord", self.end, self.stream)
        self("cuEventSynchronize", self.end)
        self("cuEventElapsedTime", byref(ms), self.begin, self.end)
        return ms.value
