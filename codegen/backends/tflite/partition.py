"""Which operators of a file the Edge TPU computes: it has one part, which what does not map ends.

What is computed from an operator that does not map runs on the CPU, too; branches beside it stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from .contents import Listed, Tensor
from .coral import Reason, refusal

BEHIND = "it is computed from what the CPU computes, and the chip has one part"


@dataclass(frozen=True)
class Mapped:
    """An operator, and why it runs on the CPU; None where it runs on the chip."""

    operator: Listed
    reason: Reason

    @property
    def ends(self) -> bool:
        """Whether the operator itself does not map, whatever stands before it."""
        return self.reason not in (None, BEHIND)


@dataclass(frozen=True)
class Gain:
    """How many more operators the chip would compute if the operator of a number came last."""

    number: int
    kind: str
    more: int


def mapping(operators: Sequence[Listed]) -> list[Mapped]:
    """Where each operator runs. What comes before the chip's part on the CPU ends nothing."""
    found: list[Mapped] = []
    on_chip, behind = set[int](), set[int]()
    for op in operators:
        given = {t.index for t in op.inputs if not t.constant}
        reason = _conversion(op) or refusal(op) or (BEHIND if given & behind else None)
        made = {t.index for t in op.outputs}
        if reason is None:
            on_chip |= made
        elif given & (on_chip | behind):
            behind |= made
        found.append(Mapped(op, reason))
    return found


def _conversion(op: Listed) -> Reason:
    floats = [t for t in (*op.inputs, *op.outputs) if t.dtype == "float32"]
    return "it converts from or to floats" if op.kind in ("QUANTIZE", "DEQUANTIZE") and floats else None


def gains(rows: Sequence[Mapped]) -> list[Gain]:
    """What moving each operator that ends the chip's part behind all others would map, most first.

    Counted by dividing the operators anew, with what reads its result reading what it computes on.
    """
    now = _mapped(rows)
    moved = (Gain(i, rows[i].operator.kind, _mapped(mapping(_last(rows, i))) - now) for i in _ending(rows))
    return sorted((gain for gain in moved if gain.more > 0), key=lambda gain: -gain.more)


def _mapped(rows: Sequence[Mapped]) -> int:
    return sum(row.reason is None for row in rows)


def _ending(rows: Sequence[Mapped]) -> Iterator[int]:
    """The operators that do not map themselves, in front of some that could."""
    for i, row in enumerate(rows):
        if row.ends and any(later.reason == BEHIND for later in rows[i + 1 :]):
            yield i


def _last(rows: Sequence[Mapped], number: int) -> list[Listed]:
    """The operators with one of them behind all others."""
    moved = rows[number].operator
    data = [t for t in moved.inputs if not t.constant]
    if not data:
        return [row.operator for row in rows]
    made = {t.index for t in moved.outputs}
    rest = [row.operator for i, row in enumerate(rows) if i != number]
    return [*(_reading(op, made, data[0]) for op in rest), moved]


def _reading(op: Listed, made: set[int], instead: Tensor) -> Listed:
    """The operator with another tensor in the place of those in `made`; shapes stay as they are."""
    inputs = tuple(replace(t, index=instead.index) if t.index in made else t for t in op.inputs)
    return replace(op, inputs=inputs)
