"""The cost table of a target, by the primitives' analytic estimates: what backends share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from secateur.ir.capacity import excess_of
from secateur.ir.choice import Choice
from secateur.ir.errors import ModelError
from secateur.ir.graph import Operator
from secateur.ir.ops.quantize import rounds_as_tflite
from secateur.ir.types import Layout, TensorType

from ..targets.target import Target
from .chosen import chosen_as, weight_bytes
from .operator import Primitive
from .registry import Primitives


@dataclass
class Estimates(ABC):
    """Implements `secateur.ir.choice.CostTable` for one target, but for what a change of layout takes."""

    target: Target
    primitives: Primitives
    _known: dict[Operator, tuple[Choice, ...]] = field(default_factory=dict, repr=False)
    _weights: dict[Operator, dict[tuple[str, str], int]] = field(default_factory=dict, repr=False)

    def choices(self, op: Operator) -> tuple[Choice, ...]:
        if op not in self._known:
            self._known[op] = self._choices(op)
        return self._known[op]

    def _choices(self, op: Operator) -> tuple[Choice, ...]:
        if excess := excess_of(op):
            raise ModelError(f"{op.called}: {excess}; the pass 'fuse' splits it")
        if rounds_as_tflite([op]):
            raise ModelError(
                f"{op.called} rounds as TFLite does, for which {self.target.name} has no kernels; "
                "compile it for litert or edgetpu"
            )
        known = self.primitives.candidates(op)
        read: dict[type, Any] = {}
        found = [choice for primitive in known for choice in self._of(primitive, op, read)]
        if not found:
            reasons = [f"{p.name}: {p.applicable(op, self.target)}" for p in known]
            why = "; ".join(reasons) or "no primitive implements it"
            raise ModelError(f"{op.called} cannot be compiled for {self.target.name}: {why}")
        return tuple(found)

    def _of(self, primitive: Primitive, op: Operator, read: dict[type, Any]) -> list[Choice]:
        """None where the primitive refuses the operator; `read` as for `Primitive.ways`."""
        ways = primitive.ways(op, self.target, read)
        if ways is None:
            return []
        offered, costs = ways
        noise, keeps = primitive.noise(op, self.target), primitive.keeps(op, self.target)
        return [
            Choice(
                primitive.name,
                operands,
                result,
                cost.workspace,
                cost.seconds,
                noise,
                primitive.spreads,
                keeps,
            )
            for cost in costs
            for operands, result in offered
        ]

    @abstractmethod
    def conversion(self, type: TensorType, source: Layout, destination: Layout) -> float:
        """Seconds of a change of layout; 0 where there is none."""

    def weight_bytes(self, op: Operator, choice: Choice) -> int:
        known = self._weights.setdefault(op, {})
        asked = (choice.primitive, choice.result_layout.name)
        if asked not in known:
            chosen = chosen_as(op, choice)
            known[asked] = weight_bytes(self.primitives.find(chosen), chosen, self.target)
        return known[asked]
