"""What a limit on the whole network costs: slower tiles first, then layers that stay in float."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from secateur.ir.graph import Operator

from .quantize_tiles import Layer, Trial, Way

Found = TypeVar("Found")


def smallest_that_passes(count: int, passes: Callable[[int], bool]) -> int | None:
    """The least n in 0..count for which `passes`, if it stays so for all larger n; None where `count` fails.

    Tries 0, 1, 2, 4, ..., then bisects: few trials where few are needed.
    """
    failed, n = -1, 0
    while not passes(n):
        if n >= count:
            return None
        failed, n = n, min(count, max(1, 2 * n))
    while n - failed > 1:
        middle = (failed + n) // 2
        failed, n = (failed, middle) if passes(middle) else (middle, n)
    return n


def weights_that_matter(layers: Sequence[Layer]) -> list[float]:
    """Weights of noise against seconds, ascending, at which some layer changes its way; 0 first."""
    found = {0.0}
    for layer in layers:
        for a in layer.ways:
            for b in layer.ways:
                noises = 10 ** (-a.sqnr / 10), 10 ** (-b.sqnr / 10)
                if a.seconds < b.seconds and noises[0] > noises[1]:
                    found.add((b.seconds - a.seconds) / (noises[0] - noises[1]) * (1 + 1e-9))
    return sorted(found)


def choose_ways(
    trial: Trial, layers: Sequence[Layer], passes: Callable[[Mapping[Operator, Way]], bool]
) -> dict[Operator, Way]:
    """The fastest ways that pass, on the path from the fastest of all to the most exact."""
    weights = weights_that_matter(layers)

    def ways(index: int) -> dict[Operator, Way]:
        return {layer.op: trial.chosen(layer, weights[index]) for layer in layers}

    found = smallest_that_passes(len(weights) - 1, lambda index: passes(ways(index)))
    return ways(len(weights) - 1 if found is None else found)
