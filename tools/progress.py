"""What is being done, on stderr: bars at a terminal, else a line for each phase, and how long each took."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

Progress = Callable[[str, int, int], None]


@dataclass(eq=False)
class Phases:
    """Progress that is handed on to `draw`; remembers when each phase began."""

    draw: Progress
    clock: Callable[[], float] = time.perf_counter
    _began: list[tuple[str, float]] = field(default_factory=list)

    def __call__(self, what: str, done: int, total: int) -> None:
        if not self._began or self._began[-1][0] != what:
            self._began.append((what, self.clock()))
        self.draw(what, done, total)

    @property
    def seconds(self) -> dict[str, float]:
        """What each phase took so far: until another was told of."""
        taken: dict[str, float] = {}
        for (what, begin), (_, end) in pairwise((*self._began, ("", self.clock()))):
            taken[what] = taken.get(what, 0.0) + end - begin
        return taken


@contextmanager
def progress() -> Iterator[Phases]:
    """A callback (what, how many are done, of how many)."""
    if not sys.stderr.isatty():
        yield Phases(_lines())
        return
    with _bars() as draw:
        yield Phases(draw)


def _lines() -> Progress:
    """Draws a line when a phase begins: `[  0.4 s] kernels (40, 3 of them done)`."""
    seen: set[str] = set()
    start = time.perf_counter()

    def draw(what: str, done: int, total: int) -> None:
        if what not in seen:
            seen.add(what)
            known = f", {done} of them done" if done > 1 else ""
            count = f" ({total}{known})" if total > 1 else ""
            print(f"[{time.perf_counter() - start:5.1f} s] {what}{count}", file=sys.stderr, flush=True)

    return draw


@contextmanager
def _bars() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def draw(what: str, done: int, total: int) -> None:
            if what not in tasks:
                for before in bars.tasks:  # one thing at a time; what says no more is done
                    bars.update(before.id, completed=before.total)
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield draw
