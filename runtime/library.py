"""The C interface of `secateur.h` as ctypes sees it."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_char_p, c_int32, c_int64, c_size_t, c_uint64, c_void_p
from pathlib import Path
from typing import Any

# In the order of `secateur_dtype`.
DTYPES = (
    "float32", "float16", "float64", "int8", "uint8", "int16", "uint16",
    "int32", "uint32", "int64", "uint64", "bool",
)  # fmt: skip


class TensorStruct(ctypes.Structure):
    """`secateur_tensor`."""

    _fields_ = (
        ("name", c_char_p),
        ("dtype", c_int32),
        ("rank", c_int32),
        ("dims", POINTER(c_int64)),
        ("bytes", c_uint64),
    )


class OperatorStruct(ctypes.Structure):
    """`secateur_operator`."""

    _fields_ = (("label", c_char_p), ("name", c_char_p), ("macs", c_uint64))


class OptionsStruct(ctypes.Structure):
    """`secateur_options`."""

    _fields_ = (
        ("size", c_size_t),
        ("threads", c_int32),
        ("arena", c_void_p),
        ("arena_bytes", c_uint64),
        ("weights", c_void_p),
        ("weights_bytes", c_uint64),
        ("gpu", c_uint64),
        ("cpus", POINTER(c_int32)),
        ("cpu_count", c_uint64),
    )


_STATUS = c_int32
_POINTERS = POINTER(c_void_p)
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "secateur_abi_version": (c_int32, []),
    "secateur_model_name": (c_char_p, []),
    "secateur_input_count": (c_int32, []),
    "secateur_output_count": (c_int32, []),
    "secateur_operator_count": (c_int32, []),
    "secateur_input": (POINTER(TensorStruct), [c_int32]),
    "secateur_output": (POINTER(TensorStruct), [c_int32]),
    "secateur_operator_at": (POINTER(OperatorStruct), [c_int32]),
    "secateur_weights_bytes": (c_uint64, []),
    "secateur_arena_bytes": (c_uint64, [c_int32]),
    "secateur_create": (_STATUS, [POINTER(OptionsStruct), POINTER(c_void_p)]),
    "secateur_run": (_STATUS, [c_void_p, _POINTERS, _POINTERS]),
    "secateur_profile": (_STATUS, [c_void_p, _POINTERS, _POINTERS, POINTER(c_int64)]),
    "secateur_free": (None, [c_void_p]),
    "secateur_message": (c_char_p, [_STATUS]),
}
# Of models for a GPU alone.
_GPU_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "secateur_run_device": (_STATUS, [c_void_p, _POINTERS, _POINTERS, c_void_p]),
    "secateur_input_buffer": (c_void_p, [c_void_p, c_int32]),
    "secateur_output_buffer": (c_void_p, [c_void_p, c_int32]),
}
GPU_SHARED, GPU_NO_GRAPH = 1, 2  # options of a state on a GPU
_close = ctypes.CDLL(None).dlclose
_close.argtypes = [c_void_p]


class Library:
    """A loaded model.so whose functions are attributes; OSError or AttributeError where it is none."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path), mode=ctypes.DEFAULT_MODE)
        for name, (result, arguments) in (_FUNCTIONS | _GPU_FUNCTIONS).items():
            if name in _GPU_FUNCTIONS and not hasattr(self._library, name):
                continue
            function = getattr(self._library, name)
            function.restype, function.argtypes = result, arguments

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)

    def message(self, status: int) -> str:
        """The library's sentence about a status."""
        text: bytes = self._library.secateur_message(status)
        return text.decode()

    def close(self) -> None:
        """Unloads the library; none of its functions may be called afterwards."""
        _close(self._library._handle)
