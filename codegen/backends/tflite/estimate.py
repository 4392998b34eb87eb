"""Estimated times of a file's operators, by a model of the machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from ...targets.systolic import Systolic, Work
from .contents import Contents, Listed
from .partition import Mapped

# Operators of a file --------------------------------------------------------------------------------


def work_of(op: Listed) -> Work:
    """What an operator of a file does."""
    moved = op.activation_bytes
    product = PRODUCTS.get(op.kind)
    try:
        pixels, depth, filters = product(op) if product is not None else (0, 0, 0)
    except (ValueError, IndexError):  # a file may give an operator any operands
        return Work(moved)
    return Work(moved, pixels, depth, filters, apart=op.kind == "DEPTHWISE_CONV_2D")


def _conv(op: Listed) -> tuple[int, int, int]:
    filters, *rest = op.inputs[1].shape
    return prod(op.outputs[0].shape[:-1]), prod(rest), filters


def _depthwise(op: Listed) -> tuple[int, int, int]:
    *taps, channels = op.inputs[1].shape
    return prod(op.outputs[0].shape[:-1]), prod(taps), channels


def _transposed(op: Listed) -> tuple[int, int, int]:
    filters, *taps, channels = op.inputs[1].shape
    return prod(op.inputs[2].shape[:-1]), channels, filters * prod(taps)


def _rows(op: Listed) -> tuple[int, int, int]:
    *_, filters, depth = op.inputs[1].shape
    return prod(op.outputs[0].shape[:-1]), depth, filters


def _matrices(op: Listed) -> tuple[int, int, int]:
    *_, depth, filters = op.inputs[1].shape
    return prod(op.outputs[0].shape[:-1]), depth, filters


PRODUCTS: Mapping[str, Callable[[Listed], tuple[int, int, int]]] = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transposed,
    "FULLY_CONNECTED": _rows,
    "BATCH_MATMUL": _matrices,
}
"""What multiplies: pixels, the length of their sums, and how many there are of each."""


# A file ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Times:
    """Estimated seconds by link: of each operator that the chip computes (None of others), and of the ends.

    `computing` is what they take with all weights on the chip.
    """

    operators: Mapping[str, tuple[float | None, ...]]
    ends: Mapping[str, float]
    computing: float
    streamed: int

    def whole(self, link: str) -> float:
        """What the chip's part takes."""
        return sum(s or 0.0 for s in self.operators[link]) + self.ends[link]


def times_of(contents: Contents, rows: Sequence[Mapped], machine: Systolic) -> Times:
    """Weights stay on the chip, first come first, until it is full; the others stream while it computes."""
    computing = [None if row.reason else machine.seconds(work_of(row.operator)) for row in rows]
    streamed = _streamed(rows, machine.cached_bytes)
    ends = _end_bytes(contents, rows)
    return Times(
        {
            link: tuple(
                None if s is None else max(s, n / rate) for s, n in zip(computing, streamed, strict=True)
            )
            for link, rate in machine.links.items()
        },
        {link: ends / rate for link, rate in machine.links.items()},
        sum(s or 0.0 for s in computing),
        sum(streamed),
    )


def _streamed(rows: Sequence[Mapped], room: int) -> list[int]:
    """The bytes of each operator's weights for which there is no room on the chip."""
    found = []
    for row in rows:
        weights = 0 if row.reason else row.operator.weight_bytes
        kept = min(room, weights)
        room -= kept
        found.append(weights - kept)
    return found


def _end_bytes(contents: Contents, rows: Sequence[Mapped]) -> int:
    """What goes to the chip's part and comes from it."""
    chip = [row.operator for row in rows if row.reason is None]
    host = [row.operator for row in rows if row.reason is not None]
    made = {t.index for op in chip for t in op.outputs}
    wanted = {t.index for t in contents.outputs} | {t.index for op in host for t in op.inputs}
    given = {t.index: t for op in chip for t in op.inputs if not t.constant and t.index not in made}
    taken = {t.index: t for op in chip for t in op.outputs if t.index in wanted}
    return sum(t.size for t in (*given.values(), *taken.values()))
