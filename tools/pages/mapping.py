"""What is known of a TFLite file and the Edge TPU: our verdict on each operator, and its compiler's."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from secateur.codegen.backends.tflite.compiler import Log
from secateur.codegen.backends.tflite.contents import read_contents
from secateur.codegen.backends.tflite.estimate import Times, times_of
from secateur.codegen.backends.tflite.partition import BEHIND, Gain, Mapped, gains, mapping
from secateur.codegen.targets.rows import TARGETS
from secateur.codegen.targets.tflite import Tflite

LINK = "USB 3"
"""The link that single operators' times are shown for."""
SHOWN = 3


@dataclass(frozen=True)
class Share:
    """Operators of a kind, how many of them map, and what is said of the others."""

    count: int
    mapped: int
    words: str = ""


@dataclass(frozen=True)
class Mapping:
    """A file's operators in order, the chip's estimated times, what reordering gains, the compiler's log."""

    path: Path
    rows: tuple[Mapped, ...]
    times: Times
    gains: tuple[Gain, ...] = ()
    log: Log | None = None

    @property
    def mapped(self) -> int:
        return sum(row.reason is None for row in self.rows)

    @property
    def weights(self) -> int:
        """Bytes of the chip's weights."""
        return sum(row.operator.weight_bytes for row in self.rows if row.reason is None)

    @property
    def seconds(self) -> tuple[float | None, ...]:
        """Of each operator over USB 3; None of those on the CPU."""
        return self.times.operators[LINK]

    @property
    def behind(self) -> list[str]:
        """What follows from the chip's having one part; nothing where all of it maps."""
        count = sum(row.reason == BEHIND for row in self.rows)
        if not count:
            return []
        first = f"{count} run on the CPU because they are computed from what it computes."
        return [first, *(self._said(gain) for gain in self.gains[:SHOWN])]

    def _said(self, gain: Gain) -> str:
        return f"Moving this {gain.kind} ({gain.number}) last would map {gain.more} more."

    @cached_property
    def beside(self) -> tuple[tuple[str, Share, Share], ...]:
        """By kind: ours, and the compiler's."""
        ours = Counter(row.operator.kind for row in self.rows)
        mapped = Counter(row.operator.kind for row in self.rows if row.reason is None)
        statuses = self.log.statuses if self.log is not None else ()
        kinds = dict.fromkeys([*ours, *(s.operator for s in statuses)])
        return tuple((kind, Share(ours[kind], mapped[kind]), self._theirs(kind)) for kind in kinds)

    def _theirs(self, kind: str) -> Share:
        found = [s for s in (self.log.statuses if self.log is not None else ()) if s.operator == kind]
        words = "; ".join(dict.fromkeys(s.status for s in found if not s.mapped))
        return Share(sum(s.count for s in found), sum(s.count for s in found if s.mapped), words)


def found_in(path: Path, log: Log | None = None) -> Mapping:
    """What is known of the file; ModelError where it is none."""
    machine = TARGETS["edgetpu"].machine
    assert isinstance(machine, Tflite), "the Edge TPU runs files of TFLite"
    contents = read_contents(path)
    rows = tuple(mapping(contents.operators))
    return Mapping(path, rows, times_of(contents, rows, machine.array), tuple(gains(rows)), log)
