"""The tiles of a network: least time with every layer, and all together, quiet enough.

Each layer has ways to be computed, with seconds and a noise-to-signal ratio. One
way each, so that the noises add up to a budget at most: a multiple-choice
knapsack. It is solved exactly, layer by layer over the undominated pairs
(noise, seconds); a Lagrangian bound removes those that cannot become the best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from secateur.ir.errors import SecateurError

Key = TypeVar("Key")
_STEPS = 60  # halvings of the multiplier's interval
_SLACK = 1e-12  # relative: what rounding of sums may hide


class Cost(NamedTuple):
    """`seconds`, and `noise`: the power of the error by the power of the result."""

    seconds: float
    noise: float


@dataclass(frozen=True)
class _State(Generic[Key]):
    """Choices for the first layers, the latest first."""

    seconds: float
    noise: float
    key: Key | None = None
    before: _State[Key] | None = None

    def keys(self) -> list[Key]:
        found: list[Key] = []
        state: _State[Key] | None = self
        while state is not None and state.before is not None:
            assert state.key is not None, "only the empty state has no key"
            found.append(state.key)
            state = state.before
        return found[::-1]


Layers = Sequence[Mapping[Key, Cost]]


def choose_tiles(layers: Layers[Key], layer_sqnr: float, budget: float | None = None) -> list[Key]:
    """A way for each layer, by its key: the least total of seconds.

    Each keeps `layer_sqnr` dB, and noise-to-signal ratios add up to `budget` at most (None: to anything).
    SecateurError where nothing does.
    """
    quiet = [_quiet(i, layer, layer_sqnr) for i, layer in enumerate(layers)]
    if budget is None:
        return [min(layer, key=lambda key: layer[key]) for layer in quiet]
    least = sum(min(c.noise for c in layer.values()) for layer in quiet)
    limit = budget * (1 + _SLACK)
    if least > limit:
        raise SecateurError(f"the layers' noise adds up to {least:.3g} at least, the budget is {budget:.3g}")
    return _search(quiet, limit)


def _quiet(index: int, layer: Mapping[Key, Cost], sqnr: float) -> dict[Key, Cost]:
    most = 10 ** (-sqnr / 10) * (1 + _SLACK)
    found = {key: Cost(*cost) for key, cost in layer.items() if cost[1] <= most}
    if not found:
        raise SecateurError(f"layer {index} has no way that keeps {sqnr} dB")
    return found


def _search(layers: Layers[Key], limit: float) -> list[Key]:
    multiplier, incumbent = _multiplier(layers, limit)
    rests = _suffix_sums([_relaxed(layer, multiplier) for layer in layers])
    quietest = _suffix_sums([min(c.noise for c in layer.values()) for layer in layers])
    states: list[_State[Key]] = [_State(0.0, 0.0)]
    most = incumbent * (1 + _SLACK) + multiplier * limit
    for i, layer in enumerate(layers, 1):
        grown = [
            _State(s.seconds + c.seconds, s.noise + c.noise, key, s)
            for s in states
            for key, c in layer.items()
        ]
        hopeful = [
            s
            for s in grown
            if s.noise + quietest[i] <= limit and s.seconds + multiplier * s.noise + rests[i] <= most
        ]
        states = _undominated(hopeful)
    return min(states, key=lambda s: s.seconds).keys()


def _undominated(states: list[_State[Key]]) -> list[_State[Key]]:
    kept: list[_State[Key]] = []
    for state in sorted(states, key=lambda s: (s.noise, s.seconds)):
        if not kept or state.seconds < kept[-1].seconds:
            kept.append(state)
    return kept


def _suffix_sums(values: Sequence[float]) -> list[float]:
    """Entry i is the sum of values[i:]."""
    sums = [0.0]
    for value in reversed(values):
        sums.append(sums[-1] + value)
    return sums[::-1]


def _relaxed(layer: Mapping[Key, Cost], multiplier: float) -> float:
    return min(c.seconds + multiplier * c.noise for c in layer.values())


def _multiplier(layers: Layers[Key], limit: float) -> tuple[float, float]:
    """A price of noise for which the cheapest ways keep the limit, nearly the lowest, and their seconds.

    The quietest ways are what an infinite price would take.
    """
    low, high, seconds = 0.0, 0.0, sum(_quietest(layer).seconds for layer in layers)
    found = _taken(layers, 0.0)
    if found.noise <= limit:
        return 0.0, found.seconds
    high = max(c.seconds for layer in layers for c in layer.values()) / max(limit, 1e-30)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        found = _taken(layers, middle)
        if found.noise <= limit:
            high, seconds = middle, min(seconds, found.seconds)
        else:
            low = middle
    return high, seconds


def _quietest(layer: Mapping[Key, Cost]) -> Cost:
    return min(layer.values(), key=lambda c: (c.noise, c.seconds))


def _taken(layers: Layers[Key], multiplier: float) -> Cost:
    """Totals of the ways that are cheapest at a price of noise."""
    taken = [
        min(layer.values(), key=lambda c: (c.seconds + multiplier * c.noise, c.noise)) for layer in layers
    ]
    return Cost(sum(c.seconds for c in taken), sum(c.noise for c in taken))
