"""Aggressive fusion, part one: residual additions are opened, so that their terms can be pruned apart.

A channel of x + f(x) has two terms: a row of f's last filters, and a channel of x that is carried
through. As an addition the three hang together, and with them the channels of every other block of the
stage. As a sum of channels each can go alone: a row (the channel is carried on as it is), a carried
channel (a row starts anew), or both (the stream is narrower behind this block than before it).

FuPruner writes carried channels as identity filters and lets the next convolution add: conv1' = [I; W1],
conv2' = [I | W2], the same with a projection P padded to the kernel. Here they are a list of channels:
nothing is multiplied by 1, no convolution grows, and since carried channels pass no activation of the
block, its input may be negative.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import ClassVar

from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.ranges import ranges_of
from secateur.ir.rewrite import Any_, Match, Op, Rule, rewrite
from secateur.ir.support.words import known_names

from ..framework.base import Pass
from ..options import OpenOptions
from .channelwise import channelwise, on_channels
from .rows import makes_rows


def _wanted(op: Operator, blocks: Sequence[str]) -> bool:
    """Whether one of the ONNX nodes that the operator came from is in the list of names and patterns."""
    return not blocks or any(fnmatchcase(part, b) for part in op.loc.split("+") for b in blocks)


def _guard(blocks: Sequence[str], m: Match) -> None:
    result, operands = m.root.result.type, m.root.operands
    m.need(_wanted(m.root, blocks), "it is none of the blocks that are opened")
    m.need(result.rank >= 3, "it has no channels beside pixels")
    m.need(result.dtype.is_float, f"it adds {result.dtype.value}")
    m.need(all(v.type.shape == result.shape for v in operands), "an operand is broadcast")
    m.need(not any(v.is_constant for v in operands), "an operand is constant")


def _open(m: Match) -> Value:
    """add(a, b)   ->   channel_sum(carried(a), carried(b)) {each all channels}

    where a and b are computed floats of one shape. A term that filters make for this sum alone stays as it
    is: its rows are its channels. Of any other the channels are carried from where they are shared,
    behind the operators that compute channel by channel for this sum alone, such as the pool or the slice of
    a shortcut. Zeros that a shortcut pads channels with are not carried.
    """
    terms = [_term(m, v) for v in m.root.operands]
    ranges = [r for _, begin, end in terms for r in (begin, end)]
    operands = [value for value, _, _ in terms]
    return m.new("nn.channel_sum", operands, channels=m.root.result.type.shape[1], ranges=tuple(ranges))


def _term(m: Match, value: Value) -> tuple[Value, int, int]:
    """A term, and the range of the result's channels that it covers."""
    op = value.producer
    if op is not None and _pads_channels(op) and m.graph.use_count(value) == 1:
        begin, channels = op["pads"][1], op.operands[0].type.shape[1]
        return _carried(m, op.operands[0]), begin, begin + channels
    return _carried(m, value), 0, value.type.shape[1]


def _pads_channels(op: Operator) -> bool:
    if op.name != "nn.pad" or op["mode"] != "constant" or op["value"] != 0.0:
        return False
    rank = op.result.type.rank
    return all(p >= 0 if i % rank == 1 else p == 0 for i, p in enumerate(op["pads"]))


def _carried(m: Match, value: Value) -> Value:
    op, alone = value.producer, m.graph.use_count(value) == 1
    everything = range(value.type.shape[1])
    how = channelwise(op) if op is not None and alone else None
    if op is not None and how is not None:
        source = op.operands[how.data]
        inner = _carried(m, source)
        return value if inner is source else on_channels(m, op, inner, everything)
    if alone and op is not None and (makes_rows(op) or op.name == "nn.channel_sum"):
        return value
    return m.new("nn.carry", [value], ranges=ranges_of(everything))


_SUM = Op("nn.add", (Any_("a"), Any_("b")))


def _rule(blocks: Sequence[str]) -> Rule:
    guard: Callable[[Match], None] = partial(_guard, tuple(blocks))
    return Rule("open-sum", _SUM, guard, _open)


RULES: tuple[Rule, ...] = (_rule(()),)


def open_sums(graph: Graph, blocks: Sequence[str] = ()) -> int:
    """Opens the additions of the blocks named (patterns as in file names; all where none is); how many.

    SecateurError: a name or pattern that no addition has.
    """
    known = sorted({op.loc for op in graph.operators if op.name == "nn.add" and op.loc})
    for block in blocks:
        if not any(fnmatchcase(part, block) for loc in known for part in loc.split("+")):
            raise SecateurError(f"no addition of the graph is called '{block}'{known_names(block, known)}")
    return rewrite(graph, [_rule(blocks)] if blocks else RULES).total()


@dataclass(frozen=True, kw_only=True)
class Open(OpenOptions, Pass):
    """Writes residual additions as sums of channels, so that rows and carried channels can be pruned apart.

    All, or those of `blocks` (names of ONNX nodes, or patterns such as `layer1*`, one a line). The pass
    `fuse` closes them again.
    """

    name: ClassVar[str] = "open"

    def run(self, graph: Graph) -> Graph:
        open_sums(graph, self.blocks)
        graph.remove_dead()
        return graph
