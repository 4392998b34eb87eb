"""Estimated times of the IR's operators that become a file's, for who chooses between forms of a layer."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from secateur.ir.graph import Operator

from ...targets.systolic import Systolic, Work
from ..uncounted import Uncounted

FREE = ("nn.reshape", "nn.transpose", "nn.constant")


@dataclass(frozen=True)
class Estimated(Uncounted):
    """Implements `secateur.ir.choice.Estimates`: there is nothing to choose, but something known of time."""

    machine: Systolic

    def seconds(self, op: Operator, streams: bool = False) -> float:
        """Of one operator; its weights stream over the slowest link, or are where it computes."""
        if op.name in FREE:
            return 0.0
        computing = self.machine.seconds(_work_of_operator(op))
        rate = min(self.machine.links.values(), default=0)
        weights = sum(v.type.bytes for v in op.operands if v.is_constant)
        return max(computing, weights / rate) if streams and rate else computing

    def holds(self, weights: int) -> bool:
        return not self.machine.links or weights <= self.machine.cached_bytes


def _work_of_operator(op: Operator) -> Work:
    moved = sum(v.type.bytes for v in (*op.operands, *op.results) if not v.is_constant)
    if op.name != "q.linear_conv":
        return Work(moved)
    filters, *rest = op.operands[1].type.shape
    pixels = op.result.type.elements // max(1, op.result.type.shape[1])
    return Work(moved, pixels, prod(rest), filters, apart=op["groups"] > 1 and rest[0] == 1)
