"""The cost table of targets whose runtime has its own kernels: there is nothing to choose."""

from __future__ import annotations

from dataclasses import dataclass

from secateur.ir.choice import Choice
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Operator
from secateur.ir.types import Layout, TensorType


@dataclass(frozen=True)
class Uncounted:
    """Implements `secateur.ir.choice.CostTable` for the target called `name`, which has no primitives."""

    name: str

    def choices(self, op: Operator) -> tuple[Choice, ...]:
        raise self._refusal

    def conversion(self, type: TensorType, source: Layout, destination: Layout) -> float:
        raise self._refusal

    def weight_bytes(self, op: Operator, choice: Choice) -> int:
        raise self._refusal

    @property
    def _refusal(self) -> SecateurError:
        return SecateurError(
            f"target {self.name} runs files of another runtime: there are no primitives to choose for it"
        )
