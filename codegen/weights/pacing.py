"""Codecs for all of a network's weights, so that one core decodes them no more slowly than a card is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..targets.target import Target
from .decoding import PACES, name_on, pace_seconds
from .registry import BEST, named
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


def paced(arrays: Sequence[Array], codecs: Sequence[str], target: Target) -> list[Codecs]:
    """The codec of each array, or of each byte of its elements, where `best` was asked for; else what was.

    They take the least bytes, about, with which a core of the target's processor decodes all these arrays in
    the time in which its card gives their plain bytes. Where every codec keeps up on a large array, `best`
    stays.
    """
    mine = [number for number, codec in enumerate(codecs) if codec == BEST and arrays[number].nbytes]
    if name_on(BEST, target) == BEST or not mine:
        return list(codecs)
    offers = [_offers(arrays[number], target) for number in mine]
    card = sum(arrays[number].nbytes for number in mine) / (target.rates.card_gbps * 1e9)
    taken = iter(within([own for planes in offers for own in planes], SHARE * card))
    chosen = {n: tuple(next(taken).codec for _ in planes) for n, planes in zip(mine, offers, strict=True)}
    return [chosen.get(number, codec) for number, codec in enumerate(codecs)]


def _offers(array: Array, target: Target) -> list[list[Offer]]:
    """Of each byte of an array's elements."""
    return [
        [Offer(n, bytes, pace_seconds(PACES[n], array.size, target)) for n, bytes in known.items()]
        for known in sizes(array, named(BEST))
    ]


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
