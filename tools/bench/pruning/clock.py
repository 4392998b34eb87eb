"""Networks pruned until they are as fast on this machine as asked."""

from __future__ import annotations

from pathlib import Path

from secateur.tools.bench.turns import share

from .ask import Ask, Make

TRIES = 6
NEAR = 1.05
"""Times faster than asked, at which no slower network is looked for."""
BEYOND = 0.99
"""What is asked besides, where a network was too slow."""


def times_faster(model: Path, whole: Path, costs: Path | None) -> float:
    """The median time of the whole network over that of the model, which take turns."""
    return 1 / share(whole, model, costs)


def made_as_fast(make: Make, model: Path, faster: float, costs: Path | None, output: Path) -> float:
    """Prunes the model until it is as many times faster by the clock; how many times it is.

    What is asked of the method follows what was measured. ValueError where no try is fast enough.
    """
    asked, best = 1 / faster, float("inf")
    draft = output.with_suffix(".try.onnx")
    for _ in range(TRIES):
        make(model, Ask(asked, "time", costs=costs), draft)
        measured = times_faster(draft, model, costs)
        if faster <= measured < best:
            best = measured
            draft.replace(output)
        if faster <= measured <= faster * NEAR:
            break
        asked *= measured / faster * (BEYOND if measured < faster else 1)
    draft.unlink(missing_ok=True)
    if best == float("inf"):
        raise ValueError(f"no network of {TRIES} was {faster:g} times faster")
    return best
