"""Which operands of additions go, as a decision: attribute `bypassed` is the operand's number.

    %y = nn.add(%skip, %branch) {bypassed = 1}   ->   %skip

With the operand goes all that nothing else needs. It prints and parses like channels that go, and a hand may
write it for any addition of two tensors of one type.
"""

from __future__ import annotations

from collections.abc import Mapping

from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Operator
from secateur.ir.opdef import BYPASSED

Bypassed = Mapping[Operator, int]
"""Additions, and for each the number of the operand that goes."""


def bypass(graph: Graph, bypassed: Bypassed) -> None:
    """Writes into the graph that these operands go, over any decision before."""
    for op in graph.operators:
        op.attributes.pop(BYPASSED, None)
    for op, at in bypassed.items():
        op.attributes[BYPASSED] = at


def bypassed_in(graph: Graph) -> dict[Operator, int]:
    """What the graph's attributes say; SecateurError where an operator cannot do without the operand."""
    found = {op: int(op[BYPASSED]) for op in graph.operators if BYPASSED in op.attributes}
    for op, at in found.items():
        why = _why_not(op, at)
        if why:
            raise SecateurError(f"'{op.loc or op.result.name}' ({op.name}): {why}")
    return found


def _why_not(op: Operator, at: int) -> str:
    if not is_plain_addition(op):
        return "only an addition of two tensors of its result's type can be left to one of them (bypassed)"
    return "" if at in (0, 1) else f"bypassed names operand 0 or 1, not {at}"


def is_plain_addition(op: Operator) -> bool:
    """Whether the operator adds two computed values of its result's type."""
    if op.name != "nn.add":
        return False
    a, b = op.operands
    return a is not b and a.type == b.type == op.result.type and not (a.is_constant or b.is_constant)
