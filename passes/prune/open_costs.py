"""What sums of channels cost while they are open: about what they will once they are closed.

Before anything is pruned a sum of channels is an addition, so it is priced as one, of tensors that are as
large as the result; carried channels cost nothing. What is left of both in the end is for `fuse` to
lower, so the time of a network whose sums are open is an estimate of an estimate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from secateur.ir.choice import Choice, CostTable
from secateur.ir.graph import Operator, Value
from secateur.ir.registry import create
from secateur.ir.types import Layout, TensorType


@dataclass(frozen=True)
class OpenCosts:
    """A cost table that knows sums of channels and carried channels too."""

    costs: CostTable

    def choices(self, op: Operator) -> tuple[Choice, ...]:
        if op.name not in ("nn.channel_sum", "nn.carry"):
            return self.costs.choices(op)
        free = op.name == "nn.carry"
        return tuple(
            Choice(
                "carry" if free else choice.primitive,
                (choice.result_layout,) * len(op.operands),
                choice.result_layout,
                0 if free else choice.workspace,
                0.0 if free else choice.seconds * max(1, len(op.operands) - 1),
            )
            for choice in self._of_addition(op.result.type)
        )

    def _of_addition(self, type: TensorType) -> Iterator[Choice]:
        """The choices for adding two tensors of a type that keep its layout, one for each layout."""
        seen: set[Layout] = set()
        for choice in self.costs.choices(create("nn.add", [Value(type), Value(type)])):
            if {*choice.operand_layouts} == {choice.result_layout} and choice.result_layout not in seen:
                seen.add(choice.result_layout)
                yield choice

    def conversion(self, type: TensorType, source: Layout, destination: Layout) -> float:
        return self.costs.conversion(type, source, destination)

    def weight_bytes(self, op: Operator, choice: Choice) -> int:
        return self.costs.weight_bytes(op, choice)
