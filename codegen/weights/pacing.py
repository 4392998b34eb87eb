"""Codecs for weights that are decoded together, so that one core takes no longer than a card to give them.

All that is decoded when a network is loaded is decoded together, and so are the weights of one layer where
that is done in each run. `best` asks for it. Selection, which knows one layer at a time, foresees for each
its own share of a card's time; the network's arrays then take what that says or less.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..targets.target import Cpu, Target
from .decoding import PACES, pace_seconds, room_of
from .registry import BEST, named
from .sizes import estimates
from .streams import Array, Codecs, sizes

SHARE = 0.93
"""Of a card's time that decoding may take by the paces: of seven kinds of weights of `examples/fashion` on
three boards, what was counted for the network was up to 6.3 % more."""


@dataclass(frozen=True)
class Offer:
    """What bytes take by a codec: of the stream, and of one core that decodes it."""

    codec: str
    bytes: int
    seconds: float


def is_paced(codec: str, target: Target) -> bool:
    """Whether time too says what a codec stands for: `best`, where a core of the target's processor decodes
    even a large array by some codec more slowly than its card gives the plain bytes.

    Processors beside GPUs read no cards.
    """
    card = target.rates.card_gbps * 1e9
    slow = (own for own in named(BEST) if pace_seconds(PACES[own], card, target) > 1)
    return codec == BEST and isinstance(target.machine, Cpu) and any(slow)


def paced(
    arrays: Sequence[Array], codecs: Sequence[str], target: Target, room: int | None = None
) -> list[Codecs]:
    """The codec of each array, or of each byte of its elements, where it `is_paced`; else what was asked for.

    They take the least bytes, about, with which a core of the target's processor decodes all these arrays in
    the time in which its card gives their plain bytes, in `room` bytes of memory where that is given.
    """
    mine = [n for n, codec in enumerate(codecs) if arrays[n].nbytes and is_paced(codec, target)]
    names = [name for name in named(BEST) if room is None or room_of([name]) <= room]
    offers = [_offers(sizes(arrays[n], names), arrays[n].size, target) for n in mine]
    taken = iter(_in_time(offers, sum(arrays[n].nbytes for n in mine), target))
    chosen = {n: tuple(next(taken).codec for _ in planes) for n, planes in zip(mine, offers, strict=True)}
    return [chosen.get(number, codec) for number, codec in enumerate(codecs)]


def foreseen(arrays: Sequence[Array], quick: Sequence[bool], target: Target) -> list[Offer]:
    """What each byte of the elements of arrays takes that are decoded together by `best`, by estimates.

    Of `quick` ones as `sizes.estimate` says.
    """
    known = [estimates(a, named(BEST), fast) for a, fast in zip(arrays, quick, strict=True)]
    offers = [_offers(own, array.size, target) for own, array in zip(known, arrays, strict=True)]
    return _in_time(offers, sum(array.nbytes for array in arrays), target)


def _offers(planes: Sequence[Mapping[str, int]], count: int, target: Target) -> list[list[Offer]]:
    """Of each byte of so many elements, by what they take by each codec."""
    return [
        [Offer(n, bytes, pace_seconds(PACES[n], count, target)) for n, bytes in known.items()]
        for known in planes
    ]


def _in_time(offers: Sequence[Sequence[Sequence[Offer]]], bytes: int, target: Target) -> list[Offer]:
    """One of each row, array by array, in the time in which a card gives so many bytes."""
    card = bytes / (target.rates.card_gbps * 1e9)
    return within([own for planes in offers for own in planes], SHARE * card)


def within(offers: Sequence[Sequence[Offer]], seconds: float) -> list[Offer]:
    """One of each row: the least bytes in all that decode in so many seconds; the fastest where none do.

    From the least bytes of each row, what gives a second for the fewest bytes goes first (Lagrange's bound on
    the knapsack of several choices); what the last step leaves over is spent in the rows' order.
    """
    chosen = [min(own, key=lambda offer: (offer.bytes, offer.seconds)) for own in offers]
    taken = sum(offer.seconds for offer in chosen)
    for _, row, offer in sorted(_steps(offers, chosen), key=lambda step: step[0]):
        if taken <= seconds:
            break
        taken += offer.seconds - chosen[row].seconds
        chosen[row] = offer
    for row, own in enumerate(offers):
        left = seconds - taken + chosen[row].seconds
        better = min((o for o in own if o.seconds <= left), key=lambda o: o.bytes, default=chosen[row])
        if better.bytes < chosen[row].bytes:
            taken += better.seconds - chosen[row].seconds
            chosen[row] = better
    return chosen


def _steps(offers: Sequence[Sequence[Offer]], least: Sequence[Offer]) -> Iterator[tuple[float, int, Offer]]:
    """Bytes for each second that is saved, the row, and what it takes then: each row's lower convex hull."""
    for row, (own, at) in enumerate(zip(offers, least, strict=True)):
        while faster := [offer for offer in own if offer.seconds < at.seconds]:
            prices = [(o.bytes - at.bytes) / (at.seconds - o.seconds) for o in faster]
            price, best = min(zip(prices, faster, strict=True), key=lambda pair: (pair[0], pair[1].seconds))
            yield price, row, best
            at = best
