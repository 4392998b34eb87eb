"""A TFLite file as it grows: tensors, constants stored once, operators in their order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.types import Quant

from .schema import aligned_buffer, packed, schema

Array = NDArray[Any]
DESCRIPTION = "Secateur"


@dataclass(eq=False)
class File:
    """What is written; indices of tensors are the file's."""

    tensors: list[Any] = field(default_factory=list)
    operators: list[Any] = field(default_factory=list)
    codes: list[Any] = field(default_factory=list)
    buffers: list[Any] = field(default_factory=lambda: [aligned_buffer()()])
    _code_of: dict[tuple[int, int], int] = field(default_factory=dict)
    _buffer_of: dict[bytes, int] = field(default_factory=dict)
    _constants: dict[tuple[object, ...], int] = field(default_factory=dict)
    _names: dict[str, int] = field(default_factory=dict)

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: np.dtype[Any],
        quant: Quant | None = None,
        buffer: int = 0,
    ) -> int:
        """A tensor; `quant` is as stored, its axis that of the file."""
        made = schema().TensorT()
        made.name, made.shape, made.buffer = self._free(name), [int(d) for d in shape], buffer
        made.type, made.hasRank = getattr(schema().TensorType, dtype.name.upper()), True
        made.quantization = None if quant is None else _quantization(quant)
        self.tensors.append(made)
        return len(self.tensors) - 1

    def end(self, name: str, shape: Sequence[int], dtype: np.dtype[Any], quant: Quant | None) -> int:
        """A tensor that has exactly this name."""
        made = self.tensor(name, shape, dtype, quant)
        self.rename(made, name)
        return made

    def constant(self, name: str, array: Array, quant: Quant | None = None) -> int:
        """A tensor with elements; the same one for equal elements and quantizations."""
        data = np.ascontiguousarray(array)
        key = (data.dtype.name, data.shape, data.tobytes(), quant)
        if key not in self._constants:
            buffer = self._buffer(data.tobytes())
            self._constants[key] = self.tensor(name, data.shape, data.dtype, quant, buffer)
        return self._constants[key]

    def operator(
        self,
        kind: str,
        version: int,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: str = "",
        **fields: Any,
    ) -> None:
        """An operator of TFLite; `options` names its table of options, `fields` is what stands in it."""
        made = schema().OperatorT()
        made.opcodeIndex = self._code(getattr(schema().BuiltinOperator, kind), version)
        made.inputs, made.outputs = list(inputs), list(outputs)
        if options:
            made.builtinOptionsType = getattr(schema().BuiltinOptions, options)
            made.builtinOptions = getattr(schema(), f"{options}T")()
            vars(made.builtinOptions).update(fields)
        self.operators.append(made)

    def reserve(self, names: Iterable[str]) -> None:
        """Keeps names for the ends: no other tensor is called so."""
        self._names |= dict.fromkeys(names, 1)

    def rename(self, tensor: int, name: str) -> None:
        """Calls a tensor by a name that was reserved."""
        self.tensors[tensor].name = name

    def data(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """The whole file."""
        graph = schema().SubGraphT()
        graph.name, graph.tensors, graph.operators = "main", self.tensors, self.operators
        graph.inputs, graph.outputs = list(inputs), list(outputs)
        model = schema().ModelT()
        model.version, model.description, model.subgraphs = 3, DESCRIPTION, [graph]
        model.operatorCodes, model.buffers = self.codes, self.buffers
        return packed(model)

    def _free(self, name: str) -> str:
        """The name, with a number behind it where it is taken."""
        count = self._names.get(name, 0)
        self._names[name] = count + 1
        return f"{name}_{count}" if count else name

    def _buffer(self, data: bytes) -> int:
        key = hashlib.sha256(data).digest()
        if key not in self._buffer_of:
            made = aligned_buffer()()
            made.data = data
            self.buffers.append(made)
            self._buffer_of[key] = len(self.buffers) - 1
        return self._buffer_of[key]

    def _code(self, code: int, version: int) -> int:
        if (code, version) not in self._code_of:
            made = schema().OperatorCodeT()
            made.builtinCode, made.deprecatedBuiltinCode, made.version = code, min(code, 127), version
            self.codes.append(made)
            self._code_of[code, version] = len(self.codes) - 1
        return self._code_of[code, version]


def _quantization(quant: Quant) -> Any:
    made = schema().QuantizationParametersT()
    made.scale, made.zeroPoint = list(quant.scales), list(quant.zero_points)
    made.quantizedDimension = quant.axis or 0
    return made
