"""Limits that a quantized network keeps as a whole: SQNR of its outputs, and accuracy on labelled data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from secateur.ir.errors import CheckError
from secateur.ir.graph import Graph

from .calibration.executor import Array, Arrays, Executor
from .measure import Labelled, accuracy, output_sqnr, outputs


class LimitError(CheckError):
    """A limit on the quantized network that no choice of layers kept in float satisfies."""


@dataclass(frozen=True)
class Verdict:
    """SQNR of the outputs in dB, accuracy in percent (None: not labelled), and whether both suffice."""

    sqnr: float
    accuracy: float | None
    passes: bool


@dataclass(frozen=True, eq=False)
class Judge:
    """Holds networks against the real one on `samples` and `labelled` data."""

    samples: tuple[Arrays, ...]
    real: Sequence[Sequence[Array]]
    execute: Executor
    min_sqnr: float | None
    max_drop: float | None
    labelled: Labelled
    accuracy: float | None
    known: dict[Graph, Verdict] = field(default_factory=dict)

    @property
    def demands(self) -> bool:
        """Whether there is a limit at all."""
        return self.min_sqnr is not None or self.max_drop is not None

    def verdict(self, graph: Graph) -> Verdict:
        """How `graph` does; measured once."""
        if graph not in self.known:
            self.known[graph] = self._measured(graph)
        return self.known[graph]

    def _measured(self, graph: Graph) -> Verdict:
        sqnr = output_sqnr(self.real, outputs(graph, self.samples, self.execute))
        found = accuracy(graph, self.labelled, self.execute) if self.accuracy is not None else None
        enough = self.min_sqnr is None or sqnr >= self.min_sqnr
        return Verdict(sqnr, found, enough and self._kept(found))

    def _kept(self, found: float | None) -> bool:
        if self.max_drop is None:
            return True
        return found is None or self.accuracy is None or self.accuracy - found <= self.max_drop + 1e-9

    def complaint(self, verdict: Verdict) -> str:
        """What a verdict lacks, for the user."""
        parts = [f"the outputs' SQNR is {verdict.sqnr:.1f} dB"]
        if self.min_sqnr is not None:
            parts[0] += f" ({self.min_sqnr:g} dB wanted)"
        if self.max_drop is not None and verdict.accuracy is not None and self.accuracy is not None:
            parts.append(
                f"accuracy falls from {self.accuracy:.2f} % to {verdict.accuracy:.2f} % "
                f"({self.max_drop:g} points allowed)"
            )
        return ", ".join(parts)


def appoint(
    graph: Graph,
    samples: tuple[Arrays, ...],
    execute: Executor,
    min_sqnr: float | None,
    max_drop: float | None,
    labelled: Labelled,
) -> Judge:
    """A judge whose measure is the float `graph`; accuracy is measured where it is limited."""
    real = outputs(graph, samples, execute)
    share = accuracy(graph, labelled, execute) if max_drop is not None else None
    return Judge(samples, real, execute, min_sqnr, max_drop, labelled, share)
