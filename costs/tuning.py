"""Measured costs: every primitive that may compute an operator is built, run on this machine and timed.

The answers are kept in the cache by the kernel's symbol, which stands for its
specification and the target, and by the compiler's fingerprint; a network's
second compilation measures nothing. Operators are measured one by one, as selection asks for them:
`profiling` measures a whole network's kernels side by side.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from secateur.codegen.backends.registry import backend_of
from secateur.codegen.targets.target import Target
from secateur.ir.choice import Choice, CostTable
from secateur.ir.graph import Operator
from secateur.ir.types import Layout, TensorType

from .candidates import of_choice, unique, worth_measuring
from .measure import measured
from .measured import with_times
from .samples import distance_of

WEIGHT_BYTES = 64 << 20  # of the network that is assumed: its kernels find their weights in no cache


@dataclass
class MeasuredCosts:
    """Implements `secateur.ir.choice.CostTable` for the machine that compiles; `target` must run on it."""

    target: Target
    _analytic: CostTable = field(init=False, repr=False)
    _known: dict[Operator, tuple[Choice, ...]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._analytic = backend_of(self.target).costs(self.target)

    def choices(self, op: Operator) -> tuple[Choice, ...]:
        if op not in self._known:
            self._known[op] = self._measured(op, self._analytic.choices(op))
        return self._known[op]

    def weight_bytes(self, op: Operator, choice: Choice) -> int:
        return self._analytic.weight_bytes(op, choice)

    def conversion(self, type: TensorType, source: Layout, destination: Layout) -> float:
        return self._analytic.conversion(type, source, destination)

    def _measured(self, op: Operator, choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
        worth = worth_measuring(choices)
        kernels = [of_choice(op, c, self.target) if c in worth else None for c in choices]
        several = [kernel for kernel in kernels if kernel]
        if len(several) < 2:
            return choices
        timings = measured(unique(several), self.target, distance_of(WEIGHT_BYTES))
        return with_times(choices, [timings[k.symbol].seconds if k else None for k in kernels])
