"""What the pass `half` did: how many operators compute in binary16, and why others do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Left:
    """An operator with multiplications that stays in float32, and why."""

    name: str
    operator: str
    reason: str


@dataclass(frozen=True)
class HalfReport:
    """`half` of `total` operators compute in binary16; of those that multiply, `left` do not."""

    half: int
    total: int
    left: tuple[Left, ...] = ()

    @property
    def text(self) -> str:
        """For people."""
        lines = [f"fp16: {self.half} of {self.total} operators"]
        lines += [f"kept in float32: {row.name} ({row.operator}): {row.reason}" for row in self.left]
        return "\n".join(lines)


Listener = Callable[[HalfReport], object]


def ignored(_: HalfReport) -> None:
    """Listens to no report."""
