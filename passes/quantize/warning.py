"""Why a quantized network's answer is poor, and what to try: the error that adds up from layer to layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

POOR = 15.0
"""dB of the outputs' SQNR below which an answer is hardly one of the same network."""
_SHOWN = 3


@dataclass(frozen=True)
class Accumulated:
    """A layer's result against the float network's, in dB: its own error and all that came before it."""

    layer: str
    sqnr: float


def is_poor(sqnr: float) -> bool:
    """Whether a user is to be warned of outputs with this SQNR in dB; one that is unknown is poor too."""
    return not sqnr >= POOR


def falls(layers: Sequence[Accumulated]) -> list[tuple[Accumulated, float]]:
    """The layers behind which most is lost, the worst first, each with the dB lost since the one before."""
    lost = [(layer, before.sqnr - layer.sqnr) for before, layer in pairwise(layers)]
    return sorted((row for row in lost if row[1] > 0), key=lambda row: -row[1])[:_SHOWN]


def reason(sqnr: float, layers: Sequence[Accumulated]) -> str:
    """What is wrong with outputs of `sqnr` dB, for people; `layers` in the order of execution."""
    lines = [f"the outputs' SQNR is {sqnr:.1f} dB, less than {POOR:g}: the answers will often be wrong"]
    first = next((layer for layer in layers if is_poor(layer.sqnr)), None)
    if first is not None:
        lines.append(
            f"errors add up from layer to layer: from {layers[0].sqnr:.1f} dB behind {layers[0].layer} "
            f"they fall below {POOR:g} at {first.layer} ({first.sqnr:.1f} dB)"
        )
    if lost := falls(layers):
        lines.append("most is lost at " + ", ".join(f"{row.layer} (-{by:.1f} dB)" for row, by in lost))
    return "; ".join(lines)
