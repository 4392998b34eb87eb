"""What else computes in 8 bits where the whole network does, as TFLite's does.

| kind | operator | result |
| --- | --- | --- |
| kernel | softmax, difference, product of computed matrices, transposed convolution, a known term | u8 |
| tied | larger or smaller of two values, linear resize | u8, one quantization for operands and result |
| move | besides those of all targets: padding, picking by constant indices, largest and smallest | the same |
| index | the largest element's | a whole number |
"""

from __future__ import annotations

from secateur.ir.elementwise import Epilogue
from secateur.ir.graph import Operator, Value, constant_of
from secateur.ir.types import DType

from ..fuse.affine import bias_of
from ..tflite.moves import resized
from ..tflite.two_operands import EXTREMES, SUMS

PICKS = ("nn.pad", "nn.gather", "nn.reduce_max", "nn.reduce_min", "nn.resize")
LIMITS = ("relu", "clip")


def float_operands(op: Operator) -> list[Value]:
    """What the operator computes on, constants aside."""
    return [v for v in op.operands if v.type.dtype == DType.F32 and constant_of(v) is None]


def whole_kind(op: Operator) -> str | None:
    """The kind of an operator that computes in 8 bits in TFLite alone, else None."""
    if not float_operands(op) or op.operands[0].type.dtype != DType.F32:
        return None
    if op.name == "nn.argmax":
        return "index"
    if op.result.type.dtype != DType.F32:
        return None
    if op.name == "nn.map":
        return _map(op)
    if op.name == "nn.resize" and resized(op) is not None:
        return "tied"
    if op.name in PICKS:
        return "move" if op.definition.is_move(op.attributes) and _picks(op) else None
    return "kernel" if op.name == "nn.softmax" or _products(op) else None


def _picks(op: Operator) -> bool:
    return all(constant_of(v) is not None for v in op.operands[1:])


def _map(op: Operator) -> str | None:
    steps: Epilogue = op["epilogue"]
    if len(op.operands) != 2 or not steps:
        return None
    if steps[0].op in EXTREMES and len(steps) == 1:
        return "tied"
    return "kernel" if steps[0].op in SUMS and all(s.op in LIMITS for s in steps[1:]) else None


def _products(op: Operator) -> bool:
    if op.name == "nn.matmul":
        return not op["epilogue"] and op.operands[0].type.rank == op.operands[1].type.rank
    if op.name != "nn.conv_transpose" or constant_of(op.operands[1]) is None:
        return False
    steps: Epilogue = op["epilogue"][int(bias_of(op) is not None) :]
    return op["groups"] == 1 and len(steps) <= 1 and all(s.op in LIMITS for s in steps)
