"""Decisions that were edited by hand are checked before they become code.

What selection writes into an operator (primitive, layouts, workspace, operands kept) must be something
that it could have written: the primitive applies, offers these layouts, and finds the workspace it uses.
Kernels count elements in int32, which tensors of bytes can exceed.
"""

from __future__ import annotations

import math

from secateur.ir.capacity import excess_of
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.registry import lookup, registry
from secateur.ir.types import ROW_MAJOR

from .primitives.operator import constant_of
from .primitives.registry import Primitives
from .targets.target import Target

MOST_ELEMENTS = (1 << 31) - 1  # kernels index with int32


def check_decisions(graph: Graph, target: Target, primitives: Primitives) -> None:
    """SecateurError at the first operator whose primitive cannot be what its attributes say."""
    for op in graph.operators:
        if op.name != "nn.constant" and (reason := refusal(op, target, primitives)):
            raise SecateurError(f"{op.called}: primitive '{op['primitive']}': {reason}")


def refusal(op: Operator, target: Target, primitives: Primitives) -> str | None:
    """Why the operator's decision is impossible on `target`, or None."""
    if (
        large := next((v for v in (*op.operands, *op.results) if _elements(v) > MOST_ELEMENTS), None)
    ) is not None:
        return f"{large.type} has {_elements(large)} elements in memory, a kernel reaches {MOST_ELEMENTS}"
    if excess := excess_of(op):
        return excess
    primitive = primitives.find(op)
    asked = _undecided(op)
    try:
        if (reason := primitive.applicable(asked, target)) is not None:
            return reason
        offered = primitive.layouts(asked, target)
        workspace = primitive.workspace(asked, target)
        kept = set(primitive.keeps(asked, target))
    finally:
        asked.operands = []
    layouts = [(tuple(layout.name for layout in operands), result.name) for operands, result in offered]
    chosen = (tuple(op.get("operand_layouts", ())), op.results[0].type.layout.name)
    if op.name != "prim.relayout" and chosen not in layouts:
        return f"layouts {', '.join(chosen[0])} -> {chosen[1]} are none of those that it offers"
    if op.get("workspace", 0) < workspace:
        return f"a workspace of {op.get('workspace', 0)} bytes, it needs {workspace}"
    if lost := kept - set(op.get("keeps", ())):
        return (
            f"it reads operand {min(lost)} until it has written the last of its result: 'keeps' must name it"
        )
    return None


def may_overwrite(op: Operator, operand: int) -> bool:
    """Whether the result may lie on that operand's bytes, by the operator's declaration and its decision."""
    return operand in op.definition.elementwise(len(op.operands)) and operand not in op.get("keeps", ())


def _elements(value: Value) -> int:
    """In memory, blocks filled up."""
    return math.prod(value.type.layout.physical_shape(value.type.shape))


def _undecided(op: Operator) -> Operator:
    """The operator as selection saw it: the `nn.` or `q.` twin where there is one, operands row-major."""
    twins = (op.name.replace("prim.", stage, 1) for stage in ("nn.", "q."))
    definition = next((lookup(name) for name in twins if name in registry()), op.definition)
    operands = [
        v if constant_of(v) is not None else Value(v.type.with_layout(ROW_MAJOR), v.name) for v in op.operands
    ]
    return Operator(
        definition, operands, op.attributes, [r.type.with_layout(ROW_MAJOR) for r in op.results], op.loc
    )
