"""What a TFLite file holds: its operators with their tensors, whoever wrote it."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.errors import ModelError

from .schema import schema

MAGIC = b"TFL3"
"""At the fifth byte of every such file."""
Data = bytes
"""As classes say that have a field `bytes`."""


@dataclass(frozen=True)
class Tensor:
    """A tensor of a file; `constant` ones have elements in it, of so many bytes. `index` is the file's.

    An integer q stands for (q - zero) scale; there is one of each, or one for each index of `axis`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    constant: bool
    bytes: int
    index: int = 0
    data: Data = field(default=b"", repr=False)
    scales: tuple[float, ...] = ()
    zeros: tuple[int, ...] = ()
    axis: int = 0

    @property
    def elements(self) -> NDArray[Any]:
        """Of a constant whose type is `SIZED`, in its shape; ValueError where there are too few or many."""
        return np.frombuffer(self.data, np.dtype(self.dtype).newbyteorder("<")).reshape(self.shape)

    @property
    def size(self) -> int:
        """Bytes of its elements, stored or computed; one each where the type's size is not known."""
        each = np.dtype(self.dtype).itemsize if self.dtype in SIZED else 1
        return prod(self.shape) * each


SIZED = ("bool", *(f"{kind}{n}" for kind in ("int", "uint") for n in (8, 16, 32, 64)))
SIZED += ("float16", "float32", "float64")


@dataclass(frozen=True)
class Listed:
    """An operator of a file; `options` are its own, by the schema's names."""

    kind: str
    version: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    options: Mapping[str, Any]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of what multiplies by weights."""
        weights = self.inputs[1].shape if len(self.inputs) > 1 else ()
        result = prod(self.outputs[0].shape)
        if self.kind == "TRANSPOSE_CONV" and len(self.inputs) > 2:
            return prod(self.inputs[2].shape[:-1]) * prod(weights)
        if self.kind == "BATCH_MATMUL" and weights:
            return result * weights[-2]
        if self.kind == "CONV_2D":
            return result * prod(weights[1:])
        if self.kind == "DEPTHWISE_CONV_2D":
            return result * prod(weights[1:3])
        return result * weights[-1] if self.kind == "FULLY_CONNECTED" and weights else 0

    @property
    def weight_bytes(self) -> int:
        """Bytes of what it reads from the file."""
        return sum(t.bytes for t in self.inputs if t.constant)

    @property
    def activation_bytes(self) -> int:
        """Bytes of what is computed before it reads them, and of its results."""
        return sum(t.size for t in (*self.inputs, *self.outputs) if not t.constant)


@dataclass(frozen=True)
class Contents:
    """A file's inputs, operators in their order, and outputs."""

    inputs: tuple[Tensor, ...]
    operators: tuple[Listed, ...]
    outputs: tuple[Tensor, ...]


def read_contents(path: Path) -> Contents:
    """What the file holds; ModelError where it is no TFLite file, or a damaged one."""
    data = path.read_bytes()
    if data[4:8] != MAGIC:
        raise ModelError(f"{path}: is no TFLite file")
    made = schema()
    try:
        model = made.ModelT.InitFromObj(made.Model.GetRootAsModel(data, 0))
        return _contents(model, made)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, struct.error) as error:
        raise ModelError(f"{path}: is damaged: {error}") from None


def _contents(model: Any, made: Any) -> Contents:
    graph = model.subgraphs[0]
    types = _names(made.TensorType)
    tensors = [_tensor(t, model.buffers, types, i) for i, t in enumerate(graph.tensors)]
    kinds = _names(made.BuiltinOperator)

    def chosen(indices: Any) -> tuple[Tensor, ...]:
        return tuple(tensors[i] for i in (() if indices is None else indices) if i >= 0)

    operators = []
    for op in graph.operators:
        code = model.operatorCodes[op.opcodeIndex]
        kind = kinds.get(max(code.builtinCode, code.deprecatedBuiltinCode), "unknown")
        if kind == "CUSTOM":
            kind = f"CUSTOM {_text(code.customCode)}"
        options = vars(op.builtinOptions) if op.builtinOptions is not None else {}
        operators.append(Listed(kind, code.version, chosen(op.inputs), chosen(op.outputs), options))
    return Contents(chosen(graph.inputs), tuple(operators), chosen(graph.outputs))


def _names(enumeration: Any) -> dict[int, str]:
    return {v: k for k, v in vars(enumeration).items() if isinstance(v, int)}


def _tensor(tensor: Any, buffers: Any, types: Mapping[int, str], index: int) -> Tensor:
    data = buffers[tensor.buffer].data if tensor.buffer < len(buffers) else None
    data = b"" if data is None else bytes(data)
    shape, quant = _numbers(tensor.shape), tensor.quantization
    name, kind = _text(tensor.name), types.get(tensor.type, "unknown").lower()
    known = Tensor(name, shape, kind, len(data) > 0, len(data), index, data)
    if quant is None:
        return known
    scales = () if quant.scale is None else tuple(map(float, quant.scale))
    return replace(known, scales=scales, zeros=_numbers(quant.zeroPoint), axis=quant.quantizedDimension)


def _numbers(given: Any) -> tuple[int, ...]:
    return () if given is None else tuple(map(int, given))


def _text(name: Any) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)
