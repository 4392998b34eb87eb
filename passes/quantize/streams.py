"""Equalization of whole groups of channels: residual streams, concatenations, depthwise layers.

What `equalize` does for two neighbouring layers holds for all layers that make and sum a group of
channels, where everything in between passes a positive factor on: the makers' weights and biases are
divided by a power of two for each unit, the users' weights multiplied by it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from secateur.ir.axes import OUT
from secateur.ir.channels import NONE, Group, Member, find_channels
from secateur.ir.channels.relations import place_of
from secateur.ir.graph import Graph, Operator, constant_of
from secateur.ir.registry import create
from secateur.ir.rewrite import Array

from ..fuse.affine import LINEAR, channel_axis, input_axis
from .magnitudes import HOMOGENEOUS, input_ranges, power_of_two, result_ranges

ROUNDS = 16
CARRIERS = (
    *(f"nn.{name}" for name in HOMOGENEOUS),
    "nn.max_pool", "nn.average_pool", "nn.reduce_mean", "nn.reshape", "nn.transpose", "nn.concat", "nn.slice",
    "nn.add",
)  # fmt: skip
"""Operators that pass on a factor that all their operands have."""


def equalize_groups(graph: Graph) -> None:
    """Balances every group that can be, until all are; in place."""
    for _ in range(ROUNDS):
        scaled = [_equalize(graph, group) for group in find_channels(graph).groups]
        graph.remove_dead()
        if not any(scaled):
            return


def _equalize(graph: Graph, group: Group) -> bool:
    """Whether the group could be balanced, and was not."""
    stream = _Stream(group)
    if not stream.passes_factors():
        return False
    scale = stream.scale()
    if (scale == 1).all():
        return False
    for member, divides in stream.constants():
        _scale(graph, member, 1 / scale if divides else scale)
    return True


def _scale(graph: Graph, member: Member, scale: NDArray[np.float64]) -> None:
    """Gives the reader a constant of its own, scaled along the member's axis."""
    reader, port = member.place.reader, member.place.port
    assert reader is not None
    old = reader.operands[port]
    array = constant_of(old)
    assert array is not None
    factors = np.where(member.units == NONE, 1.0, scale[member.units])
    along = factors.reshape([-1 if a == member.axis else 1 for a in range(array.ndim)])
    loc = old.producer.loc if old.producer is not None else ""
    new = create("nn.constant", [], {"value": (array * along).astype(array.dtype)}, loc)
    new.result.name = old.name
    graph.insert_before(reader, [new])
    reader.set_operand(port, new.result)


class _Stream:
    """A group as its operators see it."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.members = {(m.place, m.axis): m for m in group.members}
        self.places = {m.place for m in group.members}
        self.operators = tuple(dict.fromkeys(self._touched()))

    def _touched(self) -> Iterator[Operator]:
        for place in self.places:
            if place.reader is not None:
                yield place.reader
            elif place.value.producer is not None:
                yield from (place.value.producer, *place.value.users)

    def has(self, op: Operator, port: int, axis: int | None = None) -> bool:
        """Whether a port has channels of the group, along an axis where one is given."""
        place = place_of(op, port)
        return place in self.places if axis is None else (place, axis) in self.members

    def passes_factors(self) -> bool:
        """Whether a factor for each unit can be moved from makers to users."""
        makers, users = self._ends()
        return bool(makers and users) and all(map(self._passes, self.operators))

    def _ends(self) -> tuple[list[Operator], list[Operator]]:
        linear = [op for op in self.operators if op.name in LINEAR and not _is_depthwise(op)]
        return [op for op in linear if self.has(op, OUT)], [op for op in linear if self.has(op, 0)]

    def _passes(self, op: Operator) -> bool:
        if op.result.type.dtype.value != "f32":
            return False
        if op.name in LINEAR:
            return self._linear_passes(op)
        whole = op.name != "nn.add" or all(self.has(op, port) for port in range(len(op.operands)))
        return op.name in CARRIERS and whole

    def _linear_passes(self, op: Operator) -> bool:
        if constant_of(op.operands[1]) is None or (op.name == "nn.matmul" and op.operands[1].type.rank != 2):
            return False
        if self.has(op, 0) and not self.has(op, 0, input_axis(op)):
            return False
        return not self.has(op, OUT) or (self.has(op, OUT, channel_axis(op)) and self._epilogue_passes(op))

    def _epilogue_passes(self, op: Operator) -> bool:
        """Whether its steps add what is of the group, and are functions that pass a factor on."""
        port = 2
        for step in op["epilogue"]:
            if step.op == "add":
                if not self.has(op, port):
                    return False
                port += 1
            elif step.op not in HOMOGENEOUS:
                return False
        return True

    def constants(self) -> Iterator[tuple[Member, bool]]:
        """Constants to be scaled, and whether they are divided: what makes or adds to the channels is."""
        for member in self.group.members:
            op, port = member.place.reader, member.place.port
            if op is None or (port == 1 and _is_depthwise(op)):
                continue
            summed = op.name in LINEAR and port == 1 and member.axis == _summed_axis(op)
            yield member, not summed

    def scale(self) -> NDArray[np.float64]:
        """The power of two that each unit is divided by."""
        makers, users = self._ends()
        made = [(result_ranges(op), self.members[place_of(op, OUT), channel_axis(op)]) for op in makers]
        used = [(input_ranges(op), self.members[place_of(op, 0), input_axis(op)]) for op in users]
        return power_of_two(self._largest(made), self._largest(used))

    def _largest(self, found: list[tuple[Array, Member]]) -> Array:
        largest = np.zeros(self.group.size)
        for ranges, member in found:
            here = member.units != NONE
            np.maximum.at(largest, member.units[here], ranges[here])
        return largest


def _is_depthwise(op: Operator) -> bool:
    """Whether each channel is made of one channel alone, so that a factor passes."""
    return op.name in ("nn.conv", "nn.conv_transpose") and op["groups"] == op.operands[0].type.shape[1] > 1


def _summed_axis(op: Operator) -> int:
    """The axis of the weights that is summed over."""
    return 1 if op.name == "nn.conv" else 0
