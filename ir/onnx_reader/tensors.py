"""Tensors of a model file: decoding, external data, limits on what a file may declare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from ..errors import ModelError
from ..types import DType, TensorType

MAX_GRAPH_BYTES = 1 << 37
"""All tensors of a model together may take no more."""

Array = NDArray[Any]


def dtype_of(onnx_type: int) -> DType:
    """The element type with ONNX's number; ValueError where there is none."""
    try:
        return DType.of(onnx.helper.tensor_dtype_to_np_dtype(onnx_type))
    except (KeyError, ValueError):
        known = onnx_type in TensorProto.DataType.values()
        name = TensorProto.DataType.Name(onnx_type) if known else f"number {onnx_type}"
        raise ValueError(f"element type {name} is not supported") from None


def decode(tensor: TensorProto, folder: Path | None) -> Array:
    """The array of `tensor`; external data is read from inside `folder`. ModelError where it cannot be."""
    try:
        return _decode(tensor, folder)
    except (ValueError, TypeError) as error:
        raise ModelError(f"tensor '{tensor.name}': {error}") from None


def _decode(tensor: TensorProto, folder: Path | None) -> Array:
    shape, dtype = tuple(tensor.dims), dtype_of(tensor.data_type)
    size = TensorType(shape, dtype).bytes  # refuses what is too large before anything is allocated
    if tensor.data_location == TensorProto.EXTERNAL:
        stored = _external(tensor, folder, size).view(dtype.numpy.newbyteorder("<"))
        return stored.astype(dtype.numpy, copy=False).reshape(shape)
    if tensor.HasField("raw_data"):
        if len(tensor.raw_data) != size:
            raise ValueError(
                f"holds {len(tensor.raw_data)} bytes, shape {shape} of {dtype.value} needs {size}"
            )
        found = np.frombuffer(tensor.raw_data, dtype.numpy.newbyteorder("<"))
        return found.astype(dtype.numpy).reshape(shape)
    return np.asarray(numpy_helper.to_array(tensor), dtype.numpy).reshape(shape)


def _external(tensor: TensorProto, folder: Path | None, size: int) -> Array:
    entries = {e.key: e.value for e in tensor.external_data}
    path = external_path(entries.get("location", ""), folder)
    offset = _entry(entries, "offset", 0)
    length = _entry(entries, "length", size)
    if length != size:
        raise ValueError(f"{length} bytes of external data, its shape needs {size}")
    if offset + size > path.stat().st_size:
        raise ValueError(f"external data in '{path.name}' ends before byte {offset + size}")
    return np.fromfile(path, np.uint8, size, offset=offset)


def _entry(entries: dict[str, str], key: str, default: int) -> int:
    text = entries.get(key, str(default))
    if not text.isdecimal() or len(text) > 18:
        raise ValueError(f"external data has {key} '{text}'")
    return int(text)


def external_path(location: str, folder: Path | None) -> Path:
    """The file `location` in `folder`; ValueError where it is missing or anything but a file inside."""
    if folder is None:
        raise ValueError("external data needs a model read from a file")
    if not location or "\0" in location:
        raise ValueError("external data has no location")
    root = folder.resolve()
    path = (root / location).resolve()
    if Path(location).is_absolute() or ".." in Path(location).parts or not path.is_relative_to(root):
        raise ValueError(f"external data '{location}' lies outside the model's folder")
    if not path.is_file():
        raise ValueError(f"external data file '{location}' is missing")
    return path
