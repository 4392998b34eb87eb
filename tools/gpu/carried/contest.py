"""One group of artifacts that are timed in turn, beside cuDNN where PyTorch is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from .artifact import Ours
from .cudnn import peer_of_bytes
from .driver import Driver, DriverError
from .peers import Timer, peer

ROUNDS = 7  # turns of each contestant
Row = dict[str, Any]


class Contest:
    """All contestants in turn, round after round; `rows` are the group's, with the file of each.

    `of_bytes`: cuDNN in bytes too, where the group is a chain of convolutions.
    """

    def __init__(self, rows: Sequence[tuple[Row, Path]], torch: Any, of_bytes: bool = False) -> None:
        self.rows, self.torch = rows, torch
        self.of_bytes = of_bytes and {step["op"] for step in rows[0][0]["steps"]} <= {"Conv", "Relu"}
        self.group = rows[0][0]["group"]
        self.results: list[Row] = []

    def run(self, driver: Driver) -> list[Row]:
        ours: list[Ours] = []
        timers: dict[str, Timer] = {}
        try:
            for row, path in self.rows:
                made = self._entry(driver, path, row)
                if made is not None:
                    ours.append(made)
                    timers[row["precision"]] = made
            timers |= dict(self._peers())
            turns = _turns(timers)
        finally:
            for made in ours:
                made.close()
        found = [
            {"group": self.group, "who": who, "ms": median(ms), "turns": ms} for who, ms in turns.items()
        ]
        return self.results + found

    def _entry(self, driver: Driver, path: Path, row: Row) -> Ours | None:
        try:
            return Ours(driver, path)
        except (DriverError, OSError) as error:
            self._failed(row["precision"], str(error))
            return None

    def _peers(self) -> Iterator[tuple[str, Timer]]:
        row = self.rows[0][0]
        kinds = {"fp32": peer, "fp16": peer} | ({"int8": peer_of_bytes} if self.of_bytes else {})
        for precision, made in kinds.items() if self.torch else ():
            try:
                yield f"cuDNN {precision}", made(self.torch, row, precision)
            except (RuntimeError, OSError) as error:  # what PyTorch raises, or the loader
                self._failed(f"cuDNN {precision}", str(error)[:200])

    def _failed(self, who: str, why: str) -> None:
        self.results.append({"group": self.group, "who": who, "failure": why})


def _turns(timers: dict[str, Timer]) -> dict[str, list[float]]:
    turns: dict[str, list[float]] = {name: [] for name in timers}
    for _ in range(ROUNDS):
        for name, timer in timers.items():
            turns[name].append(timer())
    return turns
