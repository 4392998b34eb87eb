"""What the rules on floats share."""

from __future__ import annotations

from secateur.ir.graph import Value, constant_of
from secateur.ir.rewrite import Match
from secateur.ir.types import DType

Shape = tuple[int, ...]


def need_floats(m: Match) -> None:
    m.need(m.root.result.type.dtype == DType.F32, "it computes on no f32")


def reshaped(m: Match, value: Value, shape: Shape) -> Value:
    """The value under another shape; a constant as one."""
    array = constant_of(value)
    if array is not None and value.type.quant is None:
        return m.constant(array.reshape(shape), value.name)
    return value if value.type.shape == shape else m.new("nn.reshape", [value], shape=shape)
