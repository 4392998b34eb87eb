"""Constants that hold an initializer of an ONNX file in another shape have its name, and say how.

A matrix that a Gemm transposes is the constant `fc.weight/transposed`, the bias of a convolution (C elements)
the constant `conv.bias/channels` (1xCx1x1). So the writer finds its way back, and what happened to a
constant can be told of the initializer.
"""

from __future__ import annotations

from .graph import Operator, Value

TRANSPOSED = "/transposed"
CHANNELS = "/channels"


def name_of_folded(op: Operator) -> str:
    """The name for the constant that an operator on constants becomes; empty where it is no initializer's."""
    if len(op.operands) != 1 or not op.operands[0].name:
        return ""
    (x,) = op.operands
    if op.name == "nn.reshape" and x.type.rank == 1 and _is_channels(op.result):
        return x.name + CHANNELS
    if op.name == "nn.transpose" and x.type.rank == 2 and tuple(op["perm"]) == (1, 0):
        return x.name + TRANSPOSED
    return ""


def name_and_form(name: str) -> tuple[str, str]:
    """A constant's name as the initializer's and what says how it is held, which may be nothing."""
    form = next((form for form in (TRANSPOSED, CHANNELS) if name.endswith(form)), "")
    return name.removesuffix(form), form


def _is_channels(value: Value) -> bool:
    """Whether the elements lie along axis 1."""
    shape = value.type.shape
    return value.type.rank > 1 and value.type.elements == shape[1]


def is_transposed(value: Value) -> bool:
    """Whether the constant is a transposed initializer."""
    return value.name.endswith(TRANSPOSED) and value.type.rank == 2


def is_of_channels(value: Value) -> bool:
    """Whether the constant is an initializer of one axis that lies along channels."""
    return value.name.endswith(CHANNELS) and _is_channels(value)


def initializer_of(value: Value) -> str:
    """The name of the initializer that a constant holds."""
    if is_transposed(value):
        return value.name.removesuffix(TRANSPOSED)
    return value.name.removesuffix(CHANNELS) if is_of_channels(value) else value.name


def initializer_axis(value: Value, axis: int) -> int:
    """The axis of the initializer that is an axis of the constant."""
    if is_transposed(value):
        return 1 - axis
    return 0 if is_of_channels(value) else axis
