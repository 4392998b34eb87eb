"""What a limit on the whole network costs: slower tiles first, then layers that stay in float."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from typing import NamedTuple

from secateur.ir.graph import Operator

from .quantize_judge import Verdict
from .quantize_tiles import Layer, Trial, Way, noise

CLOSE = 0.2  # dB above a limit that no further run of the network is worth


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


def weights_that_matter(trial: Trial, layers: Sequence[Layer]) -> list[float]:
    """Weights of noise against price, ascending, at which some layer changes its way; 0 first."""
    found = {0.0}
    for layer in layers:
        for a, b in permutations(layer.ways, 2):
            more, less = trial.price(b) - trial.price(a), noise(a) - noise(b)
            if more > 0 and less > 0:
                found.add(more / less * (1 + 1e-9))
    return sorted(found)


Ways = dict[Operator, Way]


def fastest_ways(trial: Trial, layers: Sequence[Layer]) -> Ways:
    """The fastest way of each layer."""
    return {layer.op: trial.chosen(layer, 0.0) for layer in layers}


def noise_of(ways: Mapping[Operator, Way]) -> float:
    """The sum of the layers' shares of noise."""
    return sum(noise(way) for way in ways.values())


class Trialled(NamedTuple):
    """A point of the path: the sum of its layers' noise, and how the network did."""

    noise: float
    verdict: Verdict


def choose_ways(
    trial: Trial, layers: Sequence[Layer], verdict: Callable[[Ways], Verdict], min_sqnr: float | None
) -> Ways:
    """The fastest ways that pass on the path from the fastest of all, which fail, to the most exact.

    Ends with the most exact ones where nothing passes, and early where the limit is kept by less than CLOSE.
    """
    weights = weights_that_matter(trial, layers)
    path = [{layer.op: trial.chosen(layer, weight) for layer in layers} for weight in weights]

    def tried(index: int) -> Trialled:
        return Trialled(noise_of(path[index]), verdict(path[index]))

    low, high, (failed, passed) = 0, len(path) - 1, (tried(0), tried(len(path) - 1))
    while high - low > 1 and not _close(passed.verdict, min_sqnr):
        allowed = noise_allowed(failed, passed, min_sqnr)
        guess = next(i for i, ways in enumerate(path) if noise_of(ways) <= allowed)
        middle = min(max(guess, low + 1), high - 1)
        found = tried(middle)
        if found.verdict.passes:
            high, passed = middle, found
        else:
            low, failed = middle, found
    return path[high]


def _close(verdict: Verdict, min_sqnr: float | None) -> bool:
    return min_sqnr is not None and verdict.passes and verdict.sqnr < min_sqnr + CLOSE


def noise_allowed(failed: Trialled, passed: Trialled, min_sqnr: float | None) -> float:
    """The sum of the layers' noise at which the network should just keep `min_sqnr`, between two tried ones.

    The network's noise is taken to grow in proportion to the sum; half way where the limit is none of noise.
    """
    between, (best, worst) = failed.noise - passed.noise, (passed.verdict.sqnr, failed.verdict.sqnr)
    if min_sqnr is None or worst >= min(min_sqnr, best):
        return passed.noise + between / 2
    low, high, wanted = (10 ** (-x / 10) for x in (best, worst, min_sqnr + CLOSE / 2))
    return passed.noise + min(max((wanted - low) / (high - low), 0.0), 1.0) * between
