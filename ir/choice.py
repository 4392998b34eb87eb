"""What selection asks of a target: the ways to compute an operator, and what each costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from .graph import Operator
from .types import Layout, TensorType


@dataclass(frozen=True)
class Choice:
    """One primitive at one combination of layouts; `seconds` on one core, `workspace` in bytes a thread.

    `noise` is the relative error power (squared error over squared value of the result) that it adds beyond
    direct summation. `spreads` tells that it multiplies by zero what a result does not depend on, so that an
    infinity or NaN there spoils the result. `keeps` names the operands that its kernel reads after it has
    begun to write, so that the result must not lie on them although the operator would allow it
    (`OpDef.elementwise_from`).

    Constants are decoded right before the operator computes into `streamed` bytes of the arena, the
    decoder's own among them; 0 where they are kept, as they are or coded by `stored`.
    """

    primitive: str
    operand_layouts: tuple[Layout, ...]
    result_layout: Layout
    workspace: int
    seconds: float
    noise: float = 0.0
    spreads: bool = False
    keeps: tuple[int, ...] = ()
    streamed: int = 0
    stored: str = ""


class CostTable(Protocol):
    """Choices and costs on one target; the selector knows of targets only what this tells."""

    def choices(self, op: Operator) -> tuple[Choice, ...]:
        """Every way to compute `op`, an operator with row-major types; SecateurError where there is none."""

    def conversion(self, type: TensorType, source: Layout, destination: Layout) -> float:
        """Seconds to convert a tensor between layouts; 0 where they are the same."""

    def weight_bytes(self, op: Operator, choice: Choice) -> int:
        """Bytes of the constants that the artifact holds for `op` under one of its choices; packs them."""


class Storage(Protocol):
    """What it takes that an artifact holds the constants of an operator, under one of its choices, coded."""

    def coded_bytes(self, op: Operator, choice: Choice, codec: str) -> int:
        """About how many bytes the artifact holds."""

    def seconds(self, op: Operator, choice: Choice, codec: str) -> float:
        """To decode them, on one core."""

    def region_bytes(self, op: Operator, choice: Choice, codec: str) -> int:
        """Of memory in which they are decoded for one run; 0 where they cannot be, or there are none."""


@runtime_checkable
class Estimates(Protocol):
    """What is known of time where there is nothing to choose."""

    def seconds(self, op: Operator, streams: bool = False) -> float:
        """Of one operator, by a model of the machine; where weights do not stay there, `streams`."""

    def holds(self, weights: int) -> bool:
        """Whether so many bytes of weights stay on the machine."""
