"""Choices of how constants are stored, beside those of how an operator is computed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from secateur.ir.choice import Choice, CostTable, Storage
from secateur.ir.graph import Operator
from secateur.ir.types import Layout, TensorType

SHARED = ("view", "join")
"""Primitives whose constants are not their own: what they read is what others compute."""

RUNS = 100_000
"""For so many runs a model is loaded once: a longer run is chosen where it saves that much loading."""


@dataclass(frozen=True, eq=False)
class Storing(ABC):
    """A cost table in which each choice is had in two ways: as it is, and with its constants coded."""

    costs: CostTable
    storage: Storage
    codec: str
    _known: dict[Operator, tuple[Choice, ...]] = field(default_factory=dict, repr=False)

    def choices(self, op: Operator) -> tuple[Choice, ...]:
        if op not in self._known:
            found = self.costs.choices(op)
            self._known[op] = (*found, *(more for choice in found for more in self._other(op, choice)))
        return self._known[op]

    def _other(self, op: Operator, choice: Choice) -> Iterator[Choice]:
        if choice.primitive not in SHARED and self.costs.weight_bytes(op, choice):
            yield from self.coded(op, choice)

    @abstractmethod
    def coded(self, op: Operator, choice: Choice) -> Iterator[Choice]:
        """The choice with its constants coded; none where that is not to be had."""

    def conversion(self, type: TensorType, source: Layout, destination: Layout) -> float:
        return self.costs.conversion(type, source, destination)

    @abstractmethod
    def weight_bytes(self, op: Operator, choice: Choice) -> int: ...


class Coded(Storing):
    """Constants are stored as kernels read them, or coded and decoded once, when a model is loaded."""

    def coded(self, op: Operator, choice: Choice) -> Iterator[Choice]:
        loading = self.storage.seconds(op, choice, self.codec) / RUNS
        yield replace(choice, seconds=choice.seconds + loading, stored=self.codec)

    def weight_bytes(self, op: Operator, choice: Choice) -> int:
        if choice.stored:
            return self.storage.coded_bytes(op, choice, choice.stored)
        return self.costs.weight_bytes(op, choice)


class Streamed(Storing):
    """Constants are kept in memory, where they count, or decoded for each run, which takes its time."""

    def coded(self, op: Operator, choice: Choice) -> Iterator[Choice]:
        if bytes := self.storage.region_bytes(op, choice, self.codec):
            way = replace(choice, streamed=bytes)
            yield replace(way, seconds=choice.seconds + self.storage.seconds(op, way, self.codec))

    def weight_bytes(self, op: Operator, choice: Choice) -> int:
        return 0 if choice.streamed else self.costs.weight_bytes(op, choice)
