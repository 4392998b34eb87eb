"""What a limit on the whole network costs: slower tiles first, then layers that stay in float."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from secateur.ir.graph import Operator

from ..select.problem import Problem, Step
from ..select.problem import Way as Option
from ..select.solver import Solver
from .judge import Verdict
from .tiles import Layer, Trial, Way, noise

CLOSE = 0.2  # dB above a limit that no further run of the network is worth
RUNS = 8  # of the network, at most


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


Ways = dict[Operator, Way]


class Budget:
    """The fastest ways of all layers within a sum of noise: exact, by the labels of selection's solver."""

    def __init__(self, trial: Trial, layers: Sequence[Layer]) -> None:
        self._layers = layers
        options = [[_option(trial, way) for way in layer.ways] for layer in layers]
        self._solver = Solver(Problem(tuple(Step((), (), tuple(ways)) for ways in options), (), {}))

    def fastest_within(self, allowed: float) -> Ways:
        """ImpossibleError where the most exact ways have more noise."""
        plan = self._solver.fastest(toll=allowed * (1 + 1e-9)).plan
        return {layer.op: layer.ways[number] for layer, number in zip(self._layers, plan, strict=True)}

    def most_exact(self) -> Ways:
        """The ways of least noise."""
        return {layer.op: min(layer.ways, key=noise) for layer in self._layers}


def _option(trial: Trial, way: Way) -> Option:
    return Option(str(way.tile), (), "", trial.price(way), toll=noise(way))


def fastest_ways(trial: Trial, layers: Sequence[Layer]) -> Ways:
    """The fastest way of each layer."""
    return {layer.op: min(layer.ways, key=trial.price) for layer in layers}


def noise_of(ways: Mapping[Operator, Way]) -> float:
    """The sum of the layers' shares of noise."""
    return sum(noise(way) for way in ways.values())


class Trialled(NamedTuple):
    """The sum of the layers' noise, how the network did, and the ways."""

    noise: float
    verdict: Verdict
    ways: Ways


def choose_ways(
    trial: Trial, layers: Sequence[Layer], verdict: Callable[[Ways], Verdict], min_sqnr: float | None
) -> Ways:
    """Ways that pass, the fastest for the noise that they have; the fastest of all are known to fail.

    Ends with the most exact ones where nothing passes, and early where the limit is kept by less than CLOSE
    or after so many runs of the network.
    """
    budget = Budget(trial, layers)

    def tried(ways: Ways) -> Trialled:
        return Trialled(noise_of(ways), verdict(ways), ways)

    failed, passed = tried(fastest_ways(trial, layers)), tried(budget.most_exact())
    for _ in range(RUNS - 2):
        middle = None if _close(passed.verdict, min_sqnr) else _between(budget, failed, passed, min_sqnr)
        if middle is None:
            break
        found = tried(middle)
        failed, passed = (failed, found) if found.verdict.passes else (found, passed)
    return passed.ways


def _between(budget: Budget, failed: Trialled, passed: Trialled, min_sqnr: float | None) -> Ways | None:
    """Ways not tried yet of noise between the two, by proportion or else half way."""
    for allowed in (noise_allowed(failed, passed, min_sqnr), (failed.noise + passed.noise) / 2):
        ways = budget.fastest_within(max(allowed, passed.noise))
        if ways not in (failed.ways, passed.ways):
            return ways
    return None


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
