"""Networks pruned until they are as fast on this machine as asked, by the same search for every method."""

from __future__ import annotations

from pathlib import Path

from secateur.tools.bench.turns import share

from .ask import Ask, Make

TRIES = 10
NEAR = 1.01
"""Times faster than asked, at which no slower network is looked for."""
BEYOND = 0.98
"""What is asked besides, while no network was found on the other side."""
NARROW = 1.002
"""Of two shares that are asked, a quotient at which methods make the same network."""


def times_faster(model: Path, whole: Path, costs: Path | None) -> float:
    """The quiet time of the whole network over that of the model, which take turns."""
    return 1 / share(whole, model, costs)


class Bracket:
    """The closest shares asked so far that made a network too slow, and one fast enough."""

    def __init__(self, faster: float) -> None:
        self.faster = faster
        self.slow: tuple[float, float] | None = None
        self.fast: tuple[float, float] | None = None

    def add(self, asked: float, measured: float) -> None:
        """A network made for the share `asked` is `measured` times faster than the whole."""
        if measured < self.faster:
            self.slow = min(self.slow or (asked, measured), (asked, measured))
        else:
            self.fast = max(self.fast or (asked, measured), (asked, measured))

    @property
    def is_met(self) -> bool:
        """Whether no slower network need be looked for."""
        if self.fast is None:
            return False
        close = self.slow is not None and self.slow[0] <= self.fast[0] * NARROW
        return close or self.fast[1] <= self.faster * NEAR

    def next(self) -> float:
        """The share to ask for: as the clock says while all are on one side, then the middle of both."""
        if self.slow and self.fast:
            return (self.slow[0] + self.fast[0]) / 2
        if self.slow:
            return self.slow[0] * self.slow[1] / self.faster * BEYOND
        assert self.fast is not None
        return min(1.0, self.fast[0] * self.fast[1] / self.faster / BEYOND)


def made_as_fast(make: Make, model: Path, faster: float, costs: Path | None, output: Path) -> float:
    """Prunes the model until it is as many times faster by the clock; how many times it is.

    What is asked of the method follows what was measured: the slowest network that is fast enough stays.
    ValueError where no try is fast enough.
    """
    bracket, asked, known = Bracket(faster), 1 / faster, dict[bytes, float]()
    draft, best = output.with_suffix(".try.onnx"), float("inf")
    for _ in range(TRIES):
        make(model, Ask(asked, "time", costs=costs), draft)
        content = draft.read_bytes()
        if content not in known:
            known[content] = times_faster(draft, model, costs)
        measured = known[content]
        bracket.add(asked, measured)
        if faster <= measured < best:
            best = measured
            draft.replace(output)
        if bracket.is_met:
            break
        asked = bracket.next()
    draft.unlink(missing_ok=True)
    if best == float("inf"):
        raise ValueError(f"no network of {TRIES} was {faster:g} times faster")
    return best
