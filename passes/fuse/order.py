"""In which order the channels of a sum are best computed: those with the same terms one after another."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from secateur.ir.graph import Operator, Value
from secateur.ir.ranges import indices_of, shared_out

from .channelwise import channelwise

Signature = tuple[int, ...]
ABSENT = -1


@dataclass(frozen=True)
class Part:
    """Some channels of a sum and their terms: for each operand that takes part, its channel or `ABSENT`."""

    channels: tuple[int, ...]
    terms: tuple[tuple[int, tuple[int, ...]], ...]


@dataclass(frozen=True)
class Cover:
    """`sources[k]` says for each channel of the result which channel of operand k is added, if one is."""

    channels: int
    sources: tuple[dict[int, int], ...]

    @staticmethod
    def of(op: Operator) -> Cover:
        """Of an operator `nn.channel_sum`."""
        parts = shared_out(op["ranges"], [v.type.shape[1] for v in op.operands])
        return Cover(op["channels"], tuple({c: i for i, c in enumerate(part)} for part in parts))

    def signature(self, channel: int) -> Signature:
        """The operands that cover a channel."""
        return tuple(k for k, source in enumerate(self.sources) if channel in source)

    def parts(self, order: Sequence[int]) -> list[Part]:
        """Channels next to each other with the same terms."""
        return [self._part(tuple(group), sig) for sig, group in groupby(order, self.signature)]

    def _part(self, channels: tuple[int, ...], signature: Signature) -> Part:
        terms = [(k, tuple(self.sources[k][c] for c in channels)) for k in signature]
        return Part(channels, tuple(terms))

    def sorted(self, base: int, carried: Sequence[Collection[int]]) -> list[int]:
        """The channels without the operand `base`, those with it and others, those with it alone.

        Among each, channels that later sums carry (`carried`) come together; then as operands have them.
        """

        def key(channel: int) -> tuple[object, ...]:
            signature = self.signature(channel)
            rank = (base in signature, signature == (base,), signature)
            later = tuple((channel in found) != (base in signature) for found in carried)
            others = tuple(self.sources[k][channel] for k in signature if k != base)
            return (*rank, *later, others, channel)

        return sorted(range(self.channels), key=key)


def carried_later(value: Value) -> list[frozenset[int]]:
    """The channels of a value that later sums carry, sum by sum: those behind it, and those behind these."""
    return list(_carried(value, range(value.type.shape[1])))


Origins = Sequence[int | None]
"""For each channel of a value, the channel of an earlier one that it carries on, if it does."""


def _carried(value: Value, origins: Origins) -> Iterator[frozenset[int]]:
    for op, at in value.uses:
        how = channelwise(op)
        if op.name == "nn.carry":
            carried = [origins[i] for i in indices_of(op["ranges"])]
            yield frozenset(c for c in carried if c is not None)
            yield from _carried(op.result, carried)
        elif op.name == "nn.channel_sum":
            yield from _carried(op.result, _summed(op, at, origins))
        elif how is not None and how.data == at:
            yield from _carried(op.result, origins)


def _summed(op: Operator, at: int, origins: Origins) -> Origins:
    places = shared_out(op["ranges"], [v.type.shape[1] for v in op.operands])[at]
    found: list[int | None] = [None] * op["channels"]
    for origin, place in zip(origins, places, strict=True):
        found[place] = origin
    return found


def lie_apart(later: Sequence[Collection[int]]) -> bool:
    """Whether channels that one sum carries are no single range."""
    return any(max(found) - min(found) + 1 != len(found) for found in later if found)


def together(channels: int, later: Sequence[Collection[int]]) -> list[int]:
    """The channels in an order in which those that later sums carry come first, if they are nested."""
    return sorted(range(channels), key=lambda c: (*(c not in found for found in later), c))
