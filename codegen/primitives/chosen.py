"""Operators as a choice would have them, for primitives to say what they then need."""

from __future__ import annotations

from secateur.ir.choice import Choice
from secateur.ir.graph import Operator, Value
from secateur.ir.registry import lookup

from ..alignment import aligned
from ..targets.target import Target
from .operator import Constant, Primitive


def chosen_as(op: Operator, choice: Choice) -> Operator:
    """The operator under `choice`, on operands of its own that carry the layouts; constants stay."""
    operands = []
    for value, layout in zip(op.operands, choice.operand_layouts, strict=True):
        constant = value.producer is not None and value.producer.name == "nn.constant"
        operands.append(
            Value(value.type, producer=value.producer) if constant else Value(value.type.with_layout(layout))
        )
    attributes = {**op.attributes, "primitive": choice.primitive, "workspace": choice.workspace}
    results = [r.type.with_layout(choice.result_layout) for r in op.results]
    return Operator(lookup("prim." + op.name.split(".", 1)[1]), operands, attributes, results, op.loc)


def weight_bytes(primitive: Primitive, op: Operator, target: Target) -> int:
    """Bytes that the artifact's weights take for a `prim.` operator, each aligned; packs them."""
    given = primitive.arguments(op, target)
    return sum(aligned(a.array.nbytes) for a in given if isinstance(a, Constant))
