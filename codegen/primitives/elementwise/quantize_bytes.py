"""Between float32 and u8 tensors of one scale, exact to the bit, in the layouts that 8-bit kernels want.

Where the layouts differ, the elements are converted on their way between
row-major order and blocks of channels (see `relayout.py`), or between blocks of
floats and of bytes (see `quantize_blocks.py`); else in one walk.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from secateur.ir.graph import Operator
from secateur.ir.ops.linear import one_quant
from secateur.ir.types import ROW_MAJOR, DType, TensorType, blocked

from ...kernel import Kernel
from ...targets.isa import Narrowing
from ...targets.target import Target
from ...tir import T, load, prim_func, splat, store
from ...vector.loops import Expr
from ...vector.numeric import vector_type
from ...vector.requantize import BLOCK, Requantization, Requantize, stored_parameters
from ...vector.shuffles import hold
from ...vector.walk import Walk
from ..generic import Generic, block_refusal, storage, target_block, type_after
from ..move.relayout import QUAD, BlockBody, RelayoutSpec, block_tasks
from ..operator import Array, Combination, constant_of
from .broadcast import valid_lanes
from .quantize_blocks import regroup_kernel, regroup_spec

_SCALE = stored_parameters(0).size  # of the parameters of a quantization, behind those of storing


@dataclass(frozen=True)
class WalkSpec:
    """The elements of a tensor in memory order, from `source` to `result`.

    The box is one run; or, with the number of `channels` of a blocked tensor whose padding
    lanes must be zeroed, (images, blocks, pixels, lanes).
    """

    source: str
    result: str
    extents: tuple[int, ...]
    channels: int = 0

    @property
    def walk(self) -> Walk:
        return Walk(self.extents, (), BLOCK, 5.0, self.channels > 0)


@dataclass(frozen=True)
class ConversionSpec:
    """Between row-major order and blocks, where the row-major tensor is of floats.

    Bytes are made by `narrowing`.
    """

    blocks: RelayoutSpec
    narrowing: Narrowing | None = None


class QuantizeBytes(Generic):
    """f32 to u8 or back: row-major, by blocks on both sides, and between the two.

    Images of at most 4 channels are also quantized into blocks of 4.
    """

    name = "quantize_bytes"
    operators = ("quantize", "dequantize")
    cost = 6.0

    def applicable(self, op: Operator, target: Target) -> str | None:
        stored, real = _stored(op), _real(op)
        if stored.dtype != DType.U8 or real.dtype != DType.F32:
            return f"converts between f32 and u8, not {real.dtype.value} and {stored.dtype.value}"
        if stored.quant is None or stored.quant.axis is not None:
            return "needs one scale"
        return "a constant operand" if constant_of(op.operands[0]) is not None else None

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        plain: Combination = ((ROW_MAJOR,), ROW_MAJOR)
        if block_refusal(op, (DType.F32, DType.U8)):
            return (plain,)
        layout, quad = blocked(BLOCK), blocked(QUAD)
        floats = target_block(target)
        if not _quantizes(op):
            return ((layout,), floats), ((layout,), ROW_MAJOR), plain
        narrow = type_after(op).shape[1] <= QUAD
        return ((floats,), layout), ((ROW_MAJOR,), quad if narrow else layout), plain

    def constants(self, op: Operator, target: Target) -> tuple[Array, ...]:
        scale, zero = one_quant(_stored(op))
        values = (*stored_parameters(zero), scale) if _quantizes(op) else (float(zero), scale)
        return (np.array(values, np.float32),)

    def kernel(self, op: Operator, target: Target) -> Kernel:
        source, result = op.operands[0].type, type_after(op)
        name = op.name.split(".", 1)[1]
        if source.layout == result.layout:
            spec = _walk_spec(op)
            return Kernel(name, spec, partial(_build_walk, spec), spec.walk.tasks.count)
        if source.layout.block and result.layout.block:
            return regroup_kernel(regroup_spec(op, _quantizes(op)), quantized if _quantizes(op) else real)
        n, c, pixels = *result.shape[:2], math.prod(result.shape[2:])
        block = source.layout.block or result.layout.block
        blocks = RelayoutSpec(n, c, pixels, block, result.layout.block > 0, "uint8", 16)
        between = ConversionSpec(blocks, target.isa.narrowing if blocks.to_blocks else None)
        return Kernel(name, between, partial(_build_conversion, between), block_tasks(blocks).count)


def _quantizes(op: Operator) -> bool:
    return op.name.endswith(".quantize")


def _stored(op: Operator) -> TensorType:
    return type_after(op) if _quantizes(op) else op.operands[0].type


def _real(op: Operator) -> TensorType:
    return op.operands[0].type if _quantizes(op) else type_after(op)


def _walk_spec(op: Operator) -> WalkSpec:
    type = type_after(op)
    kinds = storage(op.operands[0].type.dtype), storage(type.dtype)
    block, shape = type.layout.block, type.layout.physical_shape(type.shape)
    if block and type.shape[1] % block:
        return WalkSpec(*kinds, (*shape[:2], math.prod(shape[2:-1]), block), type.shape[1])
    return WalkSpec(*kinds, (math.prod(shape),))


def _build_walk(spec: WalkSpec) -> Any:
    def body(x: Any, parameters: Any, result: Any, _: Any, begin: Expr, end: Expr) -> None:
        spec.walk.emit(begin, end, partial(_vector, spec, x, parameters, result))

    return prim_func(_pointers(spec.source, spec.result), body)


def _vector(
    spec: WalkSpec, x: Any, parameters: Any, result: Any,
    _offsets: list[Expr], at: Expr, _steps: list[int], lanes: int, channel: Expr,
) -> None:  # fmt: skip
    convert = quantized if spec.result == "uint8" else real
    store(result, at, convert(load(x, at, lanes), parameters, lanes, channel, spec.channels), lanes)


def _pointers(source: str, result: str) -> list[str | tuple[str, str]]:
    return [("x", source), ("parameters", "float32"), ("result", result)]


def _build_conversion(spec: ConversionSpec) -> Any:
    types = ("float32", "uint8") if spec.blocks.to_blocks else ("uint8", "float32")
    return prim_func(_pointers(*types), _Conversion(spec))


class _Conversion(BlockBody):
    """A row-major tensor of floats, a blocked one of bytes."""

    def __init__(self, spec: ConversionSpec) -> None:
        super().__init__(spec.blocks)
        self.narrowing = spec.narrowing

    def __call__(self, x: Any, parameters: Any, *others: Any) -> None:
        self.parameters = parameters
        super().__call__(x, *others)

    def from_plain(self, value: Expr, lanes: int) -> Expr:
        if self.narrowing is None or not self.narrowing.nearest or lanes not in (4, 8, 16):
            return quantized(value, self.parameters, lanes)
        return narrowed(value, self.parameters, lanes, self.narrowing)

    def to_plain(self, value: Expr, lanes: int) -> Expr:
        return dequantized(value, self.parameters, lanes)


def quantized(x: Expr, parameters: Any, lanes: int, channel: Expr = 0, channels: int = 0) -> Expr:
    """round_half_even(x / scale) + zero point as bytes; NaN gives the zero point."""
    steps = hold(x / splat(parameters[_SCALE], lanes), lanes)
    steps = hold(T.Select(T.isnan(steps), splat(0.0, lanes), steps), lanes)
    return Requantize(Requantization(filters=channels), lanes, parameters).of_steps(steps, 0, channel)


def narrowed(x: Expr, parameters: Any, lanes: int, narrowing: Narrowing) -> Expr:
    """`quantized` by instructions that make a NaN zero steps and saturate."""
    ending = Requantize(Requantization(narrowing=narrowing, moved=True), lanes, parameters)
    return ending.of_wide_steps(x / splat(parameters[_SCALE], lanes), 0, 0)


def real(stored: Expr, parameters: Any, lanes: int, channel: Expr = 0, channels: int = 0) -> Expr:
    """`dequantized`, and zero from channel `channels` on where that is not 0."""
    value = dequantized(stored, parameters, lanes)
    return valid_lanes(value, channel, channels, lanes) if channels else value


def dequantized(stored: Expr, parameters: Any, lanes: int) -> Expr:
    """scale (stored - zero point)."""
    zero, scale = (splat(parameters[i], lanes) for i in range(2))
    whole = stored.astype(vector_type("int32", lanes)).astype(vector_type("float32", lanes))
    return hold(whole - zero, lanes) * scale


PRIMITIVES = (QuantizeBytes(),)
