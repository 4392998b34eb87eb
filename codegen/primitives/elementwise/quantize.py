"""Between float tensors and affinely quantized ones, exact to the bit."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from secateur.ir.graph import Operator
from secateur.ir.types import Quant, TensorType

from ...kernel import Kernel
from ...targets.target import Target
from ...tir import Registers, T, load, prim_func, splat, store
from ...vector.loops import Expr, broadcast_strides, row_major_strides
from ...vector.numeric import convert, lanes_for, vector_type
from ...vector.walk import Walk
from ..generic import Generic, storage, type_after
from ..move.copies import Box, copy_kernel, copy_spec
from ..operator import Array, constant_of
from . import quantize_bytes
from .broadcast import spec_nest

_ROUNDER = 12582912.0  # 1.5 * 2^23: a float32 this large has no fraction


@dataclass(frozen=True)
class QuantizeSpec:
    """A box of elements; their scales (float32) and zero points (int32) lie `steps` apart."""

    to_quantized: bool
    extents: tuple[int, ...]
    steps: tuple[int, ...]
    source: str
    result: str


class Quantize(Generic):
    """Row-major; scales and zero points are constants beside the operand."""

    name = "quantize"
    operators = ("quantize", "dequantize")
    cost = 8.0

    def quantized(self, op: Operator) -> tuple[TensorType, Quant]:
        type = type_after(op) if op.name.endswith(".quantize") else op.operands[0].type
        if type.quant is None:
            raise ValueError(f"{op!r}: {type} carries no quantization")
        return type, type.quant

    def constants(self, op: Operator, target: Target) -> tuple[Array, ...]:
        _, quant = self.quantized(op)
        tables = (np.array(quant.scales, np.float32), np.array(quant.zero_points, np.int32))
        x = constant_of(op.operands[0])
        return tables if x is None else (np.ascontiguousarray(x), *tables)

    def kernel(self, op: Operator, target: Target) -> Kernel:
        type, quant = self.quantized(op)
        shape = [d if quant.axis == i else 1 for i, d in enumerate(type.shape)]
        nest = spec_nest(type.shape, (row_major_strides(type.shape), broadcast_strides(shape, type.shape)), 0)
        source, result = storage(op.operands[0].type.dtype), storage(type_after(op).dtype)
        kind = op.name.split(".", 1)[1]
        spec = QuantizeSpec(kind == "quantize", nest.extents, nest.strides[1], source, result)
        lanes = lanes_for((source, result), target.lanes)
        return Kernel(kind, spec, partial(_build, spec, lanes), _walk(spec, lanes).tasks.count)


class Annotate(Generic):
    """The same bytes under another type."""

    name = "annotate"
    operators = ("annotate",)

    def kernel(self, op: Operator, target: Target) -> Kernel:
        type = type_after(op)
        box = Box((type.elements,), (1,), (1,))
        return copy_kernel("annotate", copy_spec([box], storage(type.dtype)), target.lanes)


def _walk(spec: QuantizeSpec, lanes: int) -> Walk:
    return Walk(spec.extents, (spec.steps,), lanes, 16.0)


def _build(spec: QuantizeSpec, lanes: int) -> Any:
    pointers = [("x", spec.source), ("scales", "float32"), ("zeros", "int32"), ("result", spec.result)]
    return prim_func(pointers, _Body(spec, lanes))


class _Body:
    """Emits the loop nest."""

    def __init__(self, spec: QuantizeSpec, lanes: int) -> None:
        self.spec, self.lanes = spec, lanes

    def __call__(self, x: Any, scales: Any, zeros: Any, result: Any, _: Any, begin: Expr, end: Expr) -> None:
        self.x, self.scales, self.zeros, self.result = x, scales, zeros, result
        _walk(self.spec, self.lanes).emit(begin, end, self._vector)

    def _vector(self, tables: list[Expr], at: Expr, _steps: list[int], width: int, _channel: Expr) -> None:
        function = self._quantized if self.spec.to_quantized else self._real
        store(self.result, at, function(load(self.x, at, width), tables[0], width), width)

    def _table(self, buffer: Any, at: Expr, width: int, dtype: str) -> Expr:
        return load(buffer, at, width) if self.spec.steps[-1] else splat(buffer[at], width, dtype)

    def _quantized(self, x: Expr, table: Expr, width: int) -> Expr:
        """round_half_even(x / scale) + zero point, saturated; NaN is the zero point."""
        zero = self._table(self.zeros, table, width, "int32")
        scale = self._table(self.scales, table, width, "float32")
        steps = Registers(1, width)
        steps[0] = convert(x, self.spec.source, "float32", width) / scale
        steps[0] = T.Select(T.isnan(steps[0]), splat(0.0, width), steps[0])
        # Whole numbers beyond the limit saturate whatever the zero point.
        limit, middle = (1e18, "int64") if self.spec.result == "int32" else (2.0**20, "int32")
        steps[0] = T.max(splat(-limit, width), T.min(splat(limit, width), steps[0]))
        whole = self._rounded(steps, width).astype(vector_type(middle, width))
        whole = whole + convert(zero, "int32", middle, width)
        info = np.iinfo(self.spec.result)
        low, high = (splat(int(v), width, middle) for v in (info.min, info.max))
        return convert(T.max(low, T.min(high, whole)), middle, self.spec.result, width)

    def _rounded(self, steps: Any, width: int) -> Expr:
        """To the nearest whole number, half to even; by an addition where they are small, as any core can."""
        if self.spec.result == "int32":
            return T.nearbyint(steps[0])
        steps[0] = steps[0] + splat(_ROUNDER, width)  # in a register of its own, or TIR would cancel the two
        return steps[0] - splat(_ROUNDER, width)

    def _real(self, x: Expr, table: Expr, width: int) -> Expr:
        """scale (stored - zero point): the difference in int64 where int32 could overflow."""
        middle = "int64" if self.spec.source == "int32" else "int32"
        zero = convert(self._table(self.zeros, table, width, "int32"), "int32", middle, width)
        difference = convert(convert(x, self.spec.source, middle, width) - zero, middle, "float32", width)
        real = difference * self._table(self.scales, table, width, "float32")
        return convert(real, "float32", self.spec.result, width)


PRIMITIVES = (*quantize_bytes.PRIMITIVES, Quantize(), Annotate())
