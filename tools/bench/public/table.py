"""The verdicts as a table, and the bars that they are held to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .judge import Verdict

LARGEST_COMPILE_SECONDS = 60.0
LARGEST_ERROR = 1e-4
LARGEST_RATIO = 0.85
LEAST_GAIN = 1.0
NOISE = 0.03  # medians of one artifact in one contest differ by as much
PREDICTION = 0.15

HEADER = (
    "network", "compiled, s", "error", "ONNX Runtime, ms", "fp32, ms", "of ONNX Runtime", "int8, ms", "gain",
    "predicted", "int8 dB",
)  # fmt: skip


@dataclass(frozen=True)
class Miss:
    """A bar that a network does not clear."""

    model: str
    what: str


def misses(verdict: Verdict) -> list[Miss]:
    """Every bar that the network misses, in words."""
    if verdict.failure:
        return [Miss(verdict.model, verdict.failure)]
    checks = (
        (verdict.compile_seconds <= LARGEST_COMPILE_SECONDS, f"compiled in {verdict.compile_seconds:.0f} s"),
        (verdict.error < LARGEST_ERROR, f"error {verdict.error:.1e}"),
        (verdict.ratio <= LARGEST_RATIO, f"fp32 takes {verdict.ratio:.2f} of ONNX Runtime's time"),
        (verdict.gain >= LEAST_GAIN - NOISE, f"int8 is {verdict.gain:.2f} times as fast as fp32"),
        (_well_predicted(verdict), f"gain {verdict.gain:.2f}, predicted {verdict.predicted:.2f}"),
    )
    return [Miss(verdict.model, words) for kept, words in checks if not kept]


def _well_predicted(verdict: Verdict) -> bool:
    return abs(verdict.predicted - verdict.gain) <= PREDICTION * verdict.gain


def as_markdown(verdicts: Iterable[Verdict], about: str) -> str:
    """The table, headed by the machine it was measured on."""
    lines = [f"| {' | '.join(HEADER)} |", "|---" + "|---:" * (len(HEADER) - 1) + "|"]
    lines += [f"| {' | '.join(cells(verdict))} |" for verdict in verdicts]
    return "\n".join([about, "", *lines]) + "\n"


def cells(v: Verdict) -> tuple[str, ...]:
    """One line of the table."""
    if v.failure:
        return (v.model, v.failure, *([""] * (len(HEADER) - 2)))
    return (
        v.model,
        f"{v.compile_seconds:.0f}",
        f"{v.error:.0e}",
        f"{v.reference_ms:.2f}",
        f"{v.fp32_ms:.2f}",
        f"{v.ratio:.2f}",
        f"{v.int8_ms:.2f}",
        f"{v.gain:.2f}",
        f"{v.predicted:.2f}",
        f"{v.int8_sqnr:.1f}",
    )
