"""Tensors of a model file: decoding, limits on what a file may declare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, SparseTensorProto, TensorProto, numpy_helper

from ..errors import ModelError
from ..support.shown import shown
from ..types import DType, TensorType, extents
from .external import external_bytes

MAX_GRAPH_BYTES = 1 << 37
"""All tensors of a model together may take no more."""

MAX_DENSE_BYTES = 1 << 28
"""A sparse tensor, which may be far smaller in the file, may take no more when it is made dense."""

LISTS = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")
RAW, EXTERNAL = "raw_data", "external data"
"""Where a tensor's elements may stand."""

Array = NDArray[Any]


def dtype_of(onnx_type: int) -> DType:
    """The element type with ONNX's number; ValueError where there is none."""
    try:
        return DType.of(onnx.helper.tensor_dtype_to_np_dtype(onnx_type))
    except (KeyError, ValueError):
        known = onnx_type in TensorProto.DataType.values()
        name = TensorProto.DataType.Name(onnx_type) if known else f"number {onnx_type}"
        raise ValueError(f"element type {name} is not supported") from None


def decode(tensor: TensorProto | SparseTensorProto, folder: Path | None) -> Array:
    """The array of `tensor`; external data is read from inside `folder`. ModelError where it cannot be."""
    if isinstance(tensor, SparseTensorProto):
        return decode_sparse(tensor, folder)
    try:
        return _decode(tensor, folder)
    except (ValueError, TypeError) as error:
        raise ModelError(f"tensor '{shown(tensor.name)}': {error}") from None


def _decode(tensor: TensorProto, folder: Path | None) -> Array:
    shape, dtype = tuple(tensor.dims), dtype_of(tensor.data_type)
    size = TensorType(shape, dtype).bytes  # refuses what is too large before anything is allocated
    place = _place(tensor)
    if place == EXTERNAL:
        return _elements(external_bytes(tensor, folder, size), dtype, shape)
    if place != RAW:
        return _listed(tensor, place, dtype, shape)
    if len(tensor.raw_data) != size:
        found = len(tensor.raw_data)
        raise ValueError(f"holds {found} bytes, shape {extents(shape)} of {dtype.value} needs {size}")
    return _elements(np.frombuffer(tensor.raw_data, np.uint8), dtype, shape)


def _place(tensor: TensorProto) -> str:
    """Where the elements stand; ValueError where that is two places. Exporters may set empty fields."""
    if tensor.HasField("segment"):
        raise ValueError("is a segment of a tensor, which is not supported")
    found = [name for name in LISTS if len(getattr(tensor, name))]
    found += [EXTERNAL] if tensor.data_location == TensorProto.EXTERNAL else []
    found += [RAW] if tensor.raw_data or (tensor.HasField(RAW) and not found) else []
    if len(found) > 1:
        raise ValueError(f"has its elements twice, as {' and as '.join(found)}")
    return found[0] if found else ""


def _listed(tensor: TensorProto, place: str, dtype: DType, shape: tuple[int, ...]) -> Array:
    """Elements that stand in a list of numbers, small integers in one of i32."""
    if tensor.HasField(RAW):  # set, but empty
        given = tensor
        tensor = TensorProto()
        tensor.CopyFrom(given)
        tensor.ClearField(RAW)
    found = np.asarray(numpy_helper.to_array(tensor), dtype.numpy).reshape(shape)
    if place == "int32_data" and not dtype.is_float:
        stored = np.array(tensor.int32_data).reshape(shape)
        if (wrong := found.astype(np.int64) != stored).any():
            raise ValueError(f"holds {stored[wrong][0]}, which is no {dtype.value}")
    return found


def _elements(stored: Array, dtype: DType, shape: tuple[int, ...]) -> Array:
    """Little-endian bytes as an array; a bool is one whatever non-zero byte stands for true."""
    if dtype == DType.BOOL:
        true: Array = stored != 0
        return true.reshape(shape)
    wide = stored.view(dtype.numpy.newbyteorder("<"))
    return wide.astype(dtype.numpy).reshape(shape)


# A few bits ------------------------------------------------------------------------------------------

FEW_BITS: dict[int, tuple[int, bool]] = {
    TensorProto.INT4: (4, True), TensorProto.UINT4: (4, False),
    TensorProto.INT2: (2, True), TensorProto.UINT2: (2, False),
}  # fmt: skip
"""Bits of an element and whether it has a sign; elements lie side by side in bytes, the first lowest."""


def unpacked(packed: Array, bits: int, count: int) -> Array:
    """The `count` integers of `bits` in each row of bytes, lowest bits first: u8."""
    each = np.unpackbits(packed.astype(np.uint8), axis=-1, bitorder="little")
    whole = each.reshape(*each.shape[:-1], -1, bits)
    found: Array = (whole << np.arange(bits, dtype=np.uint8)).sum(-1, dtype=np.uint8)
    return found[..., :count]


def decode_few_bits(tensor: TensorProto, folder: Path | None) -> Array:
    """A tensor of `FEW_BITS` with a byte for each element; ModelError where it is damaged."""
    bits, signed = FEW_BITS[tensor.data_type]
    try:
        shape = TensorType(tuple(tensor.dims), DType.U8)
        size = -(-shape.elements * bits // 8)
        stored = unpacked(_packed(tensor, folder, size), bits, shape.elements).reshape(shape.shape)
    except ValueError as error:
        raise ModelError(f"tensor '{shown(tensor.name)}': {error}") from None
    top = 1 << (bits - 1)
    return ((stored ^ top).astype(np.int8) - top).astype(np.int8) if signed else stored


def _packed(tensor: TensorProto, folder: Path | None, size: int) -> Array:
    place = _place(tensor)
    if place == EXTERNAL:
        return external_bytes(tensor, folder, size)
    given = tensor.raw_data if place == RAW else bytes(i & 0xFF for i in tensor.int32_data)
    if len(given) != size:
        raise ValueError(f"holds {len(given)} bytes, its shape needs {size}")
    return np.frombuffer(given, np.uint8)


# Sparse tensors --------------------------------------------------------------------------------------


def decode_sparse(tensor: SparseTensorProto, folder: Path | None) -> Array:
    """The dense array of a sparse tensor; ModelError where it is damaged or large."""
    name = shown(tensor.values.name)
    values, indices = decode(tensor.values, folder), decode(tensor.indices, folder)
    try:
        return _dense(tuple(tensor.dims), values, indices)
    except ValueError as error:
        raise ModelError(f"sparse tensor '{name}': {error}") from None


def _dense(shape: tuple[int, ...], values: Array, indices: Array) -> Array:
    type = TensorType(shape, DType.of(values.dtype))
    if type.bytes > MAX_DENSE_BYTES:
        raise ValueError(f"takes {type.bytes} bytes when dense, the limit is {MAX_DENSE_BYTES}")
    if values.ndim != 1 or indices.dtype != np.int64 or len(indices) != len(values):
        given = f"{indices.dtype} indices of shape {extents(indices.shape)}"
        raise ValueError(f"values of shape {extents(values.shape)} and {given} do not fit")
    places = _places(shape, indices)
    if (np.diff(places) <= 0).any():
        raise ValueError("indices do not ascend, or name one element twice")
    dense = np.zeros(type.elements, values.dtype)
    dense[places] = values
    return dense.reshape(shape)


def _places(shape: tuple[int, ...], indices: Array) -> Array:
    """Each element's place in the flat array, from its place or from its coordinates."""
    if indices.ndim == 2 and indices.shape[1] == len(shape):
        limits, flat = np.array(shape), False
    elif indices.ndim == 1:
        limits, flat = np.array(int(np.prod(shape))), True
    else:
        raise ValueError(f"indices {extents(indices.shape)} do not fit shape {extents(shape)}")
    if ((indices < 0) | (indices >= limits)).any():
        raise ValueError(f"an index is outside shape {extents(shape)}")
    return indices if flat or not shape else np.ravel_multi_index(tuple(indices.T), shape)


# A graph's initializers ------------------------------------------------------------------------------


def initializers_of(graph: GraphProto) -> dict[str, TensorProto | SparseTensorProto]:
    """Its initializers by name; ModelError where one has no name, or two have the same."""
    found: dict[str, TensorProto | SparseTensorProto] = {}
    dense = [(t.name, t) for t in graph.initializer]
    sparse = [(t.values.name, t) for t in graph.sparse_initializer]
    for name, tensor in (*dense, *sparse):
        if not name:
            raise ModelError("an initializer has no name")
        if name in found:
            raise ModelError(f"two initializers have the name '{shown(name)}'")
        found[name] = tensor
    return found
