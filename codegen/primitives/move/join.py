"""Concatenations whose parts lie one after the other in the result.

The memory pass has the operands computed where the joined tensor wants them,
and nothing is emitted. Where it cannot (an operand in a caller's buffer, or
joined elsewhere already), the kernel copies.
"""

from __future__ import annotations

from secateur.ir.graph import Operator
from secateur.ir.types import Layout

from ...kernel import Kernel
from ...targets.target import Target
from ..operator import Combination, Primitive, constant_of
from .movement import CONCAT


class Join(Primitive):
    """`nn.concat` along the outermost axis in memory that is not 1."""

    name = "join"
    operators = ("concat",)

    def applicable(self, op: Operator, target: Target) -> str | None:
        if any(constant_of(v) is not None for v in op.operands) or len(set(op.operands)) < len(op.operands):
            return "an operand is constant or joined twice"
        return None if self.layouts(op, target) else "the parts are not contiguous in the result"

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        return tuple(c for c in CONCAT.layouts(op, target) if _contiguous(op, c[1]))

    def estimate(self, op: Operator, target: Target) -> float:
        return 0.0

    def kernel(self, op: Operator, target: Target) -> Kernel:
        return CONCAT.kernel(op, target)


def _contiguous(op: Operator, layout: Layout) -> bool:
    """Whether each operand's bytes are one run of the result's, blocks of channels filled to the last."""
    result = op.result.type
    axis = op["axis"] % max(result.rank, 1)
    if any(d != 1 for d in result.shape[:axis]):
        return False
    return not layout.block or all(v.type.shape[1] % layout.block == 0 for v in op.operands[:-1])


PRIMITIVES = (Join(),)
