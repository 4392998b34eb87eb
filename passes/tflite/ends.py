"""What a TFLite file takes and gives: bytes or floats, images with channels last.

    conv(quantize(x: 1x3x8x8xf32) {u8, z})

       ->   conv(transpose(table(x: 1x8x8x3xi8 {z - 128}, sign flipped)))

The graph stays what the file computes: run by the interpreter it takes and gives the same arrays.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.ops.quantize import TFLITE, quant_attributes
from secateur.ir.registry import create
from secateur.ir.types import DType, Quant, TensorType

from ..options import ENDS
from .functions import constant
from .last import behind, first, moves

STORED = dict(zip(ENDS, (DType.I8, DType.U8, DType.F32), strict=True))
WINDOWS = ("q.linear_conv", "q.linear_average_pool", "nn.max_pool")
_SIGN = (np.arange(256) ^ 0x80).astype(np.uint8)


def set_ends(graph: Graph, io: str, keep_nchw: bool) -> None:
    """Gives inputs and outputs that are quantized the element type `io`, and images channels last."""
    for value in list(graph.inputs):
        _set_input(graph, value, STORED[io], keep_nchw)
    graph.outputs = [_set_output(graph, value, STORED[io], keep_nchw) for value in graph.outputs]
    graph.sort()
    graph.remove_dead()


# Inputs ---------------------------------------------------------------------------------------------


def _set_input(graph: Graph, value: Value, dtype: DType, keep_nchw: bool) -> None:
    """A new input in the place of an old one, and what makes u8 in the IR's order of it."""
    quant = _input_quant(value)
    if quant is None:
        return
    readers = _byte_values(value)
    last = not keep_nchw and _is_image(value.type.rank, readers)
    made = Value(_end_type(value.type.shape, dtype, quant, last), value.name)
    operators = _as_bytes(made, quant)
    if last:
        operators.append(create("nn.transpose", [_last(operators, made)], {"perm": first(value.type.rank)}))
    result = _last(operators, made)
    graph.inputs[graph.inputs.index(value)] = made
    graph.operators = [*operators, *graph.operators]
    for reader in readers:
        graph.replace_value(reader, result)
    graph.remove_dead()


def _last(operators: list[Operator], value: Value) -> Value:
    return operators[-1].result if operators else value


def _input_quant(value: Value) -> Quant | None:
    """The u8 quantization that an input is read in; None for one that is not quantized."""
    if value.type.dtype == DType.U8:
        return value.type.quant
    if value.type.dtype == DType.I8 and value.type.quant is not None:
        return _shifted(value.type.quant, 128)
    found = {op.result.type.quant for op in value.users if op.name == "q.quantize"}
    if not found or any(op.name != "q.quantize" for op in value.users):
        return None
    if len(found) > 1:
        raise SecateurError(f"input '{value.name}' is quantized in {len(found)} ways; a file's input has one")
    return found.pop()


def _byte_values(value: Value) -> list[Value]:
    """The u8 values that an input becomes: itself, its quantized forms, or those of another sign."""
    if value.type.dtype == DType.U8:
        return [value]
    return [op.result for op in value.users]


def _shifted(quant: Quant, by: int) -> Quant:
    return replace(quant, zero_points=tuple(z + by for z in quant.zero_points))


def _is_image(rank: int, readers: list[Value]) -> bool:
    """Whether channels move to the end: of images, and of what a window over one axis reads.

    Where the model itself moves its last axis to the second place, they are last as it is.
    """
    if any(_comes_to(r, first(rank)) for r in readers):
        return False
    return rank > 3 or (rank == 3 and any(op.name in WINDOWS for r in readers for op in r.users))


def _comes_to(value: Value, perm: tuple[int, ...]) -> bool:
    """Whether a transpose by `perm` reads the value, or what is made of it place by place."""
    waiting, seen = [value], {id(value)}
    while waiting:
        for op in waiting.pop().users:
            if moves(op, perm):
                return True
            same = op.name not in ("nn.transpose", *WINDOWS) and op.result.type.shape == value.type.shape
            if same and id(op.result) not in seen:
                waiting.append(op.result)
                seen.add(id(op.result))
    return False


def _end_type(shape: tuple[int, ...], dtype: DType, quant: Quant, last: bool) -> TensorType:
    """The type of an end in the file's order."""
    shown = (shape[0], *shape[2:], shape[1]) if last else shape
    if dtype == DType.F32:
        return TensorType(shown)
    return TensorType(shown, dtype, quant=_shifted(quant, -128) if dtype == DType.I8 else quant)


def _as_bytes(value: Value, quant: Quant) -> list[Operator]:
    """Operators that make u8 of an end's value."""
    if value.type.dtype == DType.U8:
        return []
    if value.type.dtype == DType.F32:
        attributes = {"dtype": DType.U8, "rounding": TFLITE, **quant_attributes(quant)}
        return [create("q.quantize", [value], attributes)]
    return _flipped(value, quant, np.dtype(np.uint8))


def _flipped(value: Value, quant: Quant, dtype: np.dtype[np.generic]) -> list[Operator]:
    table = constant(_SIGN.view(dtype), "sign")
    return [table, create("q.table", [value, table.result], quant_attributes(quant))]


# Outputs --------------------------------------------------------------------------------------------


def _set_output(graph: Graph, value: Value, dtype: DType, keep_nchw: bool) -> Value:
    """What is returned in the place of an old output."""
    stored = _stored(value)
    if stored is None or stored.type.quant is None:
        return value
    operators: list[Operator] = []
    if not keep_nchw and _leaves_image(stored):
        operators.append(create("nn.transpose", [stored], {"perm": behind(stored.type.rank)}))
    operators += _from_bytes(_last(operators, stored), dtype)
    graph.operators += operators
    result = _last(operators, stored)
    result.name = result.name or value.name
    return result


def _leaves_image(value: Value) -> bool:
    """Whether an output's channels move to the end, as an input's do, unless the model moved them there."""
    op, rank = _maker(value), value.type.rank
    if op is not None and moves(op, behind(rank)):
        return False
    return rank > 3 or (rank == 3 and op is not None and op.name in WINDOWS)


def _maker(value: Value) -> Operator | None:
    """The first operator above that does not make the value place by place of another."""
    op = value.producer
    while op is not None and op.name not in (*WINDOWS, "nn.transpose") and op.operands:
        if op.operands[0].type.shape != value.type.shape:
            break
        op = op.operands[0].producer
    return op


def _stored(value: Value) -> Value | None:
    """The u8 value behind an output; None for an output that is not quantized."""
    op = value.producer
    if value.type.dtype == DType.U8:
        return value
    if op is not None and op.name in ("q.dequantize", "q.table") and op.operands[0].type.dtype == DType.U8:
        flips = op.name == "q.dequantize" or value.type.dtype == DType.I8
        return op.operands[0] if flips else None
    return None


def _from_bytes(value: Value, dtype: DType) -> list[Operator]:
    assert value.type.quant is not None, "a stored output is quantized"
    if dtype == DType.U8:
        return []
    if dtype == DType.F32:
        return [create("q.dequantize", [value])]
    return _flipped(value, _shifted(value.type.quant, -128), np.dtype(np.int8))
