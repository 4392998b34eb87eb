"""A graph in TFLite's terms becomes a file's bytes, or one error that lists all that has no form there."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from secateur.ir.errors import ModelError
from secateur.ir.graph import Graph, Operator, Value, constant_of
from secateur.ir.ops.quantize import TFLITE
from secateur.ir.types import DType

from ...targets.target import Target
from ...targets.tflite import Tflite
from . import dense, extremes, kernels, moves, nearest, picks, tables, windows
from .order import plain
from .unwritable import batches, in_float, never, refused
from .writer import Held, Mapper, Unmapped, Writer

MAPPERS: dict[str, Mapper] = {
    name: mapper
    for family in (windows, dense, moves, kernels, picks, nearest, extremes, tables)
    for name, mapper in family.MAPPERS.items()
}
"""By the operator of the IR: what writes it."""


@dataclass(frozen=True)
class Flat:
    """The bytes of a file, and what is said of them."""

    data: bytes
    manifest: Mapping[str, Any]


def emit(graph: Graph, target: Target, manifest: Mapping[str, Any]) -> Flat:
    """The file of `graph`; ModelError with every operator that has no form in it."""
    assert isinstance(target.machine, Tflite), "the registry gives a target its backend"
    if all(value.type.quant is None for value in graph.values()):
        raise ModelError(
            f"a file for {target.name} computes in 8 bits, and this network in float: quantize it "
            "(--quantize int8 --calibration IMAGES), or give a model with QuantizeLinear and DequantizeLinear"
        )
    writer = Writer(graph, target.machine)
    writer.file.reserve([*(value.name for value in graph.inputs), *graph.output_names])
    inputs = [_given(writer, value) for value in graph.inputs]
    reasons = [*batches(graph), *_written(writer), *_outputs_refused(writer)]
    if reasons:
        raise ModelError(refused(target.name, reasons))
    outputs: list[int] = []
    for value, name in zip(graph.outputs, graph.output_names, strict=True):
        outputs.append(_returned(writer, value, name, {*inputs, *outputs}))
    data = writer.file.data(inputs, outputs)
    return Flat(data, {**manifest, **_facts(writer, target, data)})


# Ends -----------------------------------------------------------------------------------------------


def _given(writer: Writer, value: Value) -> int:
    """The tensor of an input; one of u8 is brought to i8 behind it."""
    type, shape = value.type, value.type.shape
    tensor = writer.file.end(value.name, shape, type.dtype.numpy, type.quant)
    if type.dtype == DType.U8 and type.quant is not None:
        made = writer.result(f"{value.name}_signed", type, shape)
        writer.file.operator("QUANTIZE", 1, [tensor], [made])
        writer.same(value, Held(made, plain(shape), shape))
    else:
        writer.same(value, Held(tensor, plain(shape), shape))
    return tensor


def _returned(writer: Writer, value: Value, name: str, ends: Collection[int]) -> int:
    """The tensor of an output, in the IR's order and shape, of its own type, under its name.

    What is one of `ends` already, an input or another output, is copied.
    """
    type, shape = value.type, value.type.shape
    tensor = writer.read(value, plain(shape), shape)
    if type.dtype == DType.U8:
        made = writer.file.end(name, shape, type.dtype.numpy, type.quant)
        writer.file.operator("QUANTIZE", 1, [tensor], [made])
        return made
    if tensor in ends:
        tensor = writer.reshaped(name, type, tensor, shape)
    writer.file.rename(tensor, name)
    return tensor


def _outputs_refused(writer: Writer) -> Iterator[str]:
    for value, name in zip(writer.graph.outputs, writer.graph.output_names, strict=True):
        if value.is_constant:
            yield f"output '{name}': it is a constant"
        elif value in writer.graph.inputs and value.type.dtype.is_float:
            yield f"output '{name}': it is an input that nothing quantizes"


# Operators ------------------------------------------------------------------------------------------


def _written(writer: Writer) -> Iterator[str]:
    """Writes every operator; the reasons of those that have no form, with their nodes.

    A tensor stands for the result of one of these, so that what reads it is judged by itself.
    """
    refused: dict[Operator, Unmapped] = {}
    for op in writer.graph.operators:
        if op.name == "nn.constant":
            continue
        try:
            mapper_of(op)(writer, op)
        except Unmapped as error:
            for value in op.results:
                writer.make(value, plain(value.type.shape), value.type.shape)
            refused[op] = error
    for op, reason in refused.items():
        if not _follows(op, refused):
            yield f"{op.loc or op.result.name or 'unnamed'} ({op.name}): {reason}"


def _follows(op: Operator, refused: Collection[Operator]) -> bool:
    """Whether it converts for or from another operator that has no form, which alone is worth saying."""
    if op.name == "q.quantize":
        return op.operands[0].producer in refused
    readers = [user for user in op.result.users if user.name != "q.quantize"]
    return op.name == "q.dequantize" and any(user in refused for user in readers)


def mapper_of(op: Operator) -> Mapper:
    """What writes the operator; Unmapped where nothing does."""
    found = MAPPERS.get(op.name)
    real = all(v.type.dtype.is_float for v in (*op.operands, *op.results))
    if found is None or (real and op.name.startswith("nn.")):
        raise Unmapped(never(op) or (in_float(op) if real else "TFLite has no operator for it"))
    if op.name.startswith("q.") and op.definition.attribute("rounding") and op["rounding"] != TFLITE:
        made = op.result.type.dtype.is_float
        raise Unmapped(in_float(op) if made else "it has no rounding as TFLite's for what it computes on")
    return found


# Facts ----------------------------------------------------------------------------------------------


def _facts(writer: Writer, target: Target, data: bytes) -> dict[str, Any]:
    """What the manifest says: the target, operators of the IR with their work, and sizes."""
    graph = writer.graph
    computed = [op for op in graph.operators if op.name != "nn.constant"]
    return {
        "target": {"name": target.name},
        "then": writer.machine.then,
        "operators": [{"name": op.name, "loc": op.loc, "macs": op.macs} for op in computed],
        "weights_bytes": sum(_constant_bytes(op) for op in graph.operators),
        "arena_bytes": max((_live_bytes(op) for op in computed), default=0),
        "bytes": len(data),
        "file_operators": len(writer.file.operators),
    }


def _constant_bytes(op: Operator) -> int:
    array = constant_of(op.results[0])
    return 0 if array is None else int(np.asarray(array).nbytes)


def _live_bytes(op: Operator) -> int:
    return sum(v.type.bytes for v in (*op.operands, *op.results) if not v.is_constant)
