"""Choices that keep infinities and NaN where they belong, and what no kernel answers as the interpreter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.choice import Choice, CostTable
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Operator, constant_of
from secateur.ir.types import Layout, TensorType


@dataclass(frozen=True, eq=False)
class Strict:
    """A cost table without primitives that spread what is not finite."""

    costs: CostTable

    def choices(self, op: Operator) -> tuple[Choice, ...]:
        """SecateurError where nothing else computes the operator."""
        found = self.costs.choices(op)
        if kept := tuple(choice for choice in found if not choice.spreads):
            return kept
        names = ", ".join(dict.fromkeys(choice.primitive for choice in found))
        raise SecateurError(f"{op.called}: strict leaves no primitive; {names} spread what is not finite")

    def conversion(self, type: TensorType, source: Layout, destination: Layout) -> float:
        return self.costs.conversion(type, source, destination)

    def weight_bytes(self, op: Operator, choice: Choice) -> int:
        return self.costs.weight_bytes(op, choice)


def check_weights(graph: Graph) -> None:
    """SecateurError at a padded convolution whose weights are not finite.

    Zero padding times infinity is NaN; kernels skip padding, and give what the other taps give.
    """
    for op in graph.operators:
        if op.name in ("nn.conv", "nn.conv_transpose") and any(op["pads"]):
            weights = constant_of(op.operands[1])
            if weights is not None and not np.isfinite(weights).all():
                raise SecateurError(
                    f"{op.called}: its weights hold {_not_finite(weights)}, which zero padding would turn "
                    "into NaN and kernels leave out; mend the weights, or compile without strict"
                )


def _not_finite(weights: NDArray[Any]) -> str:
    nans, infinities = int(np.isnan(weights).sum()), int(np.isinf(weights).sum())
    return " and ".join(f"{n} {what}" for n, what in ((nans, "NaN"), (infinities, "infinities")) if n)
