"""How constants stand in the file: biases and matrices as ONNX's own operators have them."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from ..elementwise import Epilogue
from ..graph import Operator, Value, constant_of
from ..initializers import initializer_of, is_transposed

Array = NDArray[Any]
_CONVOLUTIONS = ("nn.conv", "nn.conv_transpose")


def stored(value: Value, array: Array) -> tuple[Array, str]:
    """The array of a constant as it is stored, and the name that is wanted for it."""
    if is_bias(value):
        weights = value.users[0].operands[1].name
        return array.reshape(-1), initializer_of(value) or f"{weights or 'value'}/bias"
    if is_transposed_matrix(value):
        return array.T, initializer_of(value)
    return array, value.name or "value"


def bias_of(op: Operator) -> Value | None:
    """The constant of one number a channel that a convolution's epilogue adds first, if it does."""
    steps: Epilogue = op["epilogue"]
    if op.name not in _CONVOLUTIONS or not steps or steps[0].op != "add":
        return None
    extra, channels = op.operands[2], op.result.type.shape[1]
    per_channel = (channels, *[1] * (op.result.type.rank - 2))
    fits = extra.type.shape in (per_channel, (1, *per_channel))
    return extra if fits and constant_of(extra) is not None else None


def is_bias(value: Value) -> bool:
    """Whether a constant is only a bias of convolutions."""
    return bool(value.users) and all(
        user.name in _CONVOLUTIONS and bias_of(user) is value and user.operands.count(value) == 1
        for user in value.users
    )


def is_gemm(op: Operator) -> bool:
    """Whether the operator is a product of two matrices that ONNX's Gemm computes."""
    matrices = op.name == "nn.matmul" and all(v.type.rank == 2 for v in op.operands[:2])
    return matrices and op.result.type.dtype.is_float


def is_transposed_matrix(value: Value) -> bool:
    """Whether a constant is only the transposed second matrix of products."""
    return (
        is_transposed(value)
        and bool(value.users)
        and all(is_gemm(u) and u.operands[1] is value and u.operands.count(value) == 1 for u in value.users)
    )
