"""What a limit on the whole network costs: slower tiles first, then layers that stay in float."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import permutations

from secateur.ir.graph import Operator

from .quantize_tiles import Layer, Trial, Way, noise


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


def first_that_passes(start: int, last: int, passes: Callable[[int], bool]) -> int:
    """The least index that passes, if all larger ones do; `last`, untried, where none before does.

    Tries start, start + 1, start + 3, ..., then bisects below what passed.
    """
    failed, step = -1, 1
    while start < last and not passes(start):
        failed, start, step = start, min(last, start + step), 2 * step
    while start - failed > 1:
        middle = (failed + start) // 2
        failed, start = (failed, middle) if passes(middle) else (middle, start)
    return start


Ways = dict[Operator, Way]


def fastest_ways(trial: Trial, layers: Sequence[Layer]) -> Ways:
    """The fastest way of each layer."""
    return {layer.op: trial.chosen(layer, 0.0) for layer in layers}


def noise_of(ways: Mapping[Operator, Way]) -> float:
    """The sum of the layers' shares of noise."""
    return sum(noise(way) for way in ways.values())


def choose_ways(
    trial: Trial,
    layers: Sequence[Layer],
    noise_allowed: float,
    passes: Callable[[Mapping[Operator, Way]], bool],
) -> Ways:
    """The fastest ways that pass, on the path from the fastest of all to the most exact.

    Begins where the sum of the layers' noise is no more than `noise_allowed`, for
    each trial runs the whole network.
    """
    weights = weights_that_matter(trial, layers)
    path = [{layer.op: trial.chosen(layer, weight) for layer in layers} for weight in weights]
    start = next((i for i, ways in enumerate(path) if noise_of(ways) <= noise_allowed), len(path) - 1)
    return path[first_that_passes(start, len(path) - 1, lambda index: passes(path[index]))]


def allowed_noise(fast: tuple[float, float], direct: tuple[float, float], min_sqnr: float | None) -> float:
    """The sum of the layers' noise at which the network's SQNR should be `min_sqnr`.

    `fast` and `direct` are such a sum and the SQNR measured with it; the network's noise is taken to grow in
    proportion to the sum between them.
    """
    if min_sqnr is None or fast[0] <= direct[0]:
        return fast[0]
    low, high, wanted = (10 ** (-sqnr / 10) for sqnr in (direct[1], fast[1], min_sqnr))
    share = (wanted - low) / (high - low) if high > low else 1.0
    return direct[0] + min(max(share, 0.0), 1.0) * (fast[0] - direct[0])
