"""Streams of opened sums: what goes together in a block, and what one block carries on to the next.

A channel of an opened sum is served by a row of filters and by a carried channel, which are of no use
without it. So the three are one group here, a stream's, and each block has its own. What a channel's removal
loses is twofold: what reads the stream loses an input, and the next block loses what it would carry on, but
only where its own stream keeps the channel. The second depends on two counts. With one order of channels
for all streams that are linked so, what is kept is a prefix of it, and the loss a sum between two counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from secateur.ir.channels import Channels, Group, Member
from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.ranges import shared_out

from .criteria.criterion import Ranking
from .curves import Curve, Floats
from .problem import Carried

SUM, CARRY = "nn.channel_sum", "nn.carry"
Units = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Term:
    """Rows or carried channels that serve a stream alone; `units` of each channel."""

    group: Group
    units: Units


@dataclass(frozen=True, eq=False)
class Stream:
    """The channels behind a sum, or behind a stem that a sum carries: the group, its unit of each channel."""

    group: Group
    units: Units
    rows: tuple[Term, ...] = ()


@dataclass(frozen=True, eq=False)
class Link:
    """A stream that the next one carries on, as `carried`."""

    first: str
    second: str
    carried: Term


@dataclass(eq=False)
class Streams:
    """The streams of a graph with opened sums, by the names of their groups, and the links between them.

    `groups` are all groups that are pruned: a stream's with its terms, and those that are no terms.
    """

    channels: Channels
    streams: dict[str, Stream] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)
    _terms: set[str] = field(default_factory=set)

    @property
    def groups(self) -> tuple[Group, ...]:
        joined = {name: stream.group for name, stream in self.streams.items()}
        return tuple(joined.get(g.name, g) for g in self.channels.groups if g.name not in self._terms)

    def add(self, op: Operator) -> None:
        """Takes in a sum of which every term has all channels in order."""
        stream = self._along(op.result)
        terms = [self._along(v) for v in op.operands]
        if stream is None or not _is_full(op) or not all(map(_is_plain, (stream, *terms))):
            return
        serving = [(v, t) for v, t in zip(op.operands, terms, strict=True) if t and self._serves(v, t, op)]
        self._terms |= {t.group.name for _, t in serving}
        rows = tuple(t for _, t in serving if any(m.name != CARRY for m in t.group.makers))
        name = stream.group.name
        self.streams[name] = Stream(_joined(stream, [t for _, t in serving]), stream.units, rows)
        for value, term in serving:
            source = _source(value)
            first = None if source is None else self._along(source)
            if first is None or first.group is stream.group:
                continue  # one group keeps what it keeps: nothing is carried that is not there
            if _is_plain(first) and len(first.units) == len(term.units):
                self.streams.setdefault(first.group.name, Stream(first.group, first.units))
                self.links.append(Link(first.group.name, name, term))

    def _serves(self, value: Value, term: Term, op: Operator) -> bool:
        """Whether the channels of an operand are for this sum alone."""
        alone = value.users == [op] and set(term.group.users) <= {op}
        return alone and term.group.name not in self.streams

    def _along(self, value: Value) -> Term | None:
        for group in self.channels.groups:
            for member in group.members:
                if member.value is value and member.axis == 1:
                    return Term(group, member.units)
        return None

    # Curves ----------------------------------------------------------------------------------------

    def curves(self, rankings: Mapping[str, Ranking], by_weights: bool) -> dict[str, Curve]:
        """The curve of each group; streams that are linked have one order of channels.

        A stream matters as its readers say or, `by_weights`, as the filters that make it.
        """
        import networkx  # takes as long to import as all else that a small command needs

        own = {name: _importance(s, rankings, by_weights) for name, s in self.streams.items()}
        graph = networkx.Graph([(link.first, link.second) for link in self.links])
        graph.add_nodes_from(own)
        found: dict[str, Curve] = {}
        for linked in networkx.connected_components(graph):
            order = np.argsort(-sum(own[name] for name in linked), kind="stable")
            found |= {name: _curve(self.streams[name], order, own[name]) for name in linked}
        rest = (g for g in self.groups if g.name not in found)
        return found | {g.name: _ranked(g, rankings[g.name]) for g in rest}

    def carried(self, rankings: Mapping[str, Ranking], curves: Mapping[str, Curve]) -> Iterator[Carried]:
        """What the links lose, by the places of `curves`."""
        number = {name: place for place, name in enumerate(curves)}
        for link in (k for k in self.links if {k.first, k.second} <= number.keys()):
            channel = np.argsort(self.streams[link.second].units)
            losses = _of_channels(link.carried, rankings)[channel[curves[link.second].order]]
            yield Carried(number[link.first], number[link.second], losses)


def find_streams(graph: Graph, channels: Channels) -> Streams:
    """The streams of a graph; none where no sum is open."""
    found = Streams(channels)
    for op in graph.operators:
        if op.name == SUM:
            found.add(op)
    return found


def _is_full(op: Operator) -> bool:
    everything = tuple(range(op["channels"]))
    counts = [v.type.shape[1] for v in op.operands]
    return all(tuple(p) == everything for p in shared_out(op["ranges"], counts))


def _is_plain(term: Term | None) -> bool:
    """Whether each channel is a unit of its own, and each unit a channel (or nothing is known of them)."""
    return term is None or sorted(term.units.tolist()) == list(range(term.group.size))


def _source(value: Value) -> Value | None:
    """What a carried value is carried from."""
    op = value.producer
    return op.operands[0] if op is not None and op.name == CARRY else None


def _joined(stream: Term, terms: list[Term]) -> Group:
    """The stream's group with the axes of its terms, counted in its units."""
    members, makers = list(stream.group.members), list(stream.group.makers)
    for term in terms:
        unit = np.full(term.group.size + 1, -1, np.int32)  # the last one is for channels of no unit, -1
        unit[term.units] = stream.units
        members += [Member(m.place, m.axis, unit[m.units]) for m in term.group.members]
        makers += term.group.makers
    return replace(stream.group, members=tuple(members), makers=tuple(dict.fromkeys(makers)))


def _of_channels(term: Term, rankings: Mapping[str, Ranking]) -> Floats:
    return np.asarray(rankings[term.group.name].importance[term.units])


def _importance(stream: Stream, rankings: Mapping[str, Ranking], by_weights: bool) -> Floats:
    if by_weights and stream.rows:
        return np.asarray(np.sum([_of_channels(row, rankings) for row in stream.rows], axis=0))
    return np.asarray(rankings[stream.group.name].importance[stream.units])


def _curve(stream: Stream, order: NDArray[np.int64], own: Floats) -> Curve:
    falling = np.cumsum(own[order][::-1])[::-1]
    return Curve(stream.group, stream.units[order].astype(np.int64), np.append(falling, 0.0))


def _ranked(group: Group, ranking: Ranking) -> Curve:
    return Curve(group, ranking.order[::-1].astype(np.int64), ranking.losses[::-1].copy())
