"""The primitives of a backend, by the operators they compute."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from secateur.ir.errors import SecateurError
from secateur.ir.graph import Operator

from .operator import Primitive


@dataclass(frozen=True)
class Primitives:
    """Every way to compute an operator on one class of machines; the first of equal ones is preferred."""

    all: tuple[Primitive, ...]

    @cached_property
    def _by_operator(self) -> dict[str, tuple[Primitive, ...]]:
        table: dict[str, tuple[Primitive, ...]] = {}
        for primitive in self.all:
            for operator in primitive.operators:
                table[operator] = (*table.get(operator, ()), primitive)
        return table

    def candidates(self, op: Operator) -> tuple[Primitive, ...]:
        """The primitives that implement the operator's kind, applicable or not."""
        return self._by_operator.get(op.name.split(".", 1)[1], ())

    def find(self, op: Operator) -> Primitive:
        """The primitive that the operator's attribute names; SecateurError where none has that name."""
        wanted = op["primitive"]
        for primitive in self.candidates(op):
            if primitive.name == wanted:
                return primitive
        known = ", ".join(p.name for p in self.candidates(op)) or "none"
        raise SecateurError(f"{op.called}: no primitive '{wanted}'; known for it: {known}")
