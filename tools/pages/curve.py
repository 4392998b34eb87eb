"""What training came to as a curve: the mean loss of each epoch, whose dots tell the accuracy too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .frontier_page import Box, Mark, Scale

if TYPE_CHECKING:
    from secateur.passes.prune.report import EpochRow

BOX = Box(860, 260, 70, 840, 14, 210, 4)
_HEADROOM = 1.05


@dataclass(frozen=True)
class Curve:
    """The plot: `path` is broken where a loss is no finite number."""

    epochs: Scale
    loss: Scale
    path: str
    marks: tuple[Mark, ...]
    box: Box = BOX


def curve_of(rows: Sequence[EpochRow]) -> Curve | None:
    """The curve; None where no epoch has a finite loss."""
    known = [row for row in rows if math.isfinite(row.loss)]
    if not known:
        return None
    first, last = rows[0].number, rows[-1].number
    ticks = min(BOX.fewest_ticks, last - first + 1)
    epochs = Scale(first - 0.5, last + 0.5, BOX.left, BOX.right, 1.0, "", ticks)
    top = max(row.loss for row in known) * _HEADROOM
    loss = Scale(0.0, top or 1.0, BOX.bottom, BOX.top, 1.0, "", BOX.fewest_ticks)
    marks = tuple(Mark(epochs.place(row.number), loss.place(row.loss), epoch_text(row)) for row in known)
    return Curve(epochs, loss, _path(rows, epochs, loss), marks)


def _path(rows: Sequence[EpochRow], epochs: Scale, loss: Scale) -> str:
    parts, drawn = [], False
    for row in rows:
        if math.isfinite(row.loss):
            parts.append(f"{'L' if drawn else 'M'}{epochs.place(row.number)} {loss.place(row.loss)}")
        drawn = math.isfinite(row.loss)
    return " ".join(parts)


def epoch_text(row: EpochRow) -> str:
    """`epoch 3: loss 0.1234, 92.10 % right`."""
    right = "" if row.accuracy is None else f", {100 * row.accuracy:.2f} % right"
    return f"epoch {row.number}: loss {row.loss:.4g}{right}"
