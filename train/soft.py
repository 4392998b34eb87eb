"""Dynamic filter pruning: filters are zeroed, chosen anew before each epoch, and may come back.

After He et al., "Soft Filter Pruning for Accelerating Deep Convolutional Neural Networks", 2018, over
whole groups of channels. What a unit adds is zeroed: the filters that make it, their biases
and the shifts after them. Scales stay, so that gradients reach the filters and they may grow again.
What is made without filters (channels that a skip connection carries, their sums) is masked for the epoch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from ..ir.channels import Channels, Group, Member, find_channels
from ..ir.errors import SecateurError
from ..ir.graph import Graph, Operator
from ..passes.prune.criteria.criterion import Evidence, Gradients
from ..passes.prune.criteria.registry import rankings
from ..passes.prune.linear.moments import Data
from ..passes.prune.remove import remove
from .learned import Role, role_of
from .network import Network

Gone = Mapping[str, Collection[int]]
Counts = Mapping[str, int]
"""How many units of each group go; groups that are not named stay whole."""

_FILTER_AXIS = {"nn.conv": 0, "nn.conv_transpose": 1, "nn.matmul": -1}
"""The axis of an operator's weights, operand 1, along which its results' channels lie."""


def uniform(channels: Channels, rate: float) -> dict[str, int]:
    """The same share of every group, rounded down; at least one unit of each stays."""
    if not 0 <= rate < 1:
        raise SecateurError(f"a share of {rate} cannot be pruned: 0 or more, and less than 1")
    return {g.name: min(int(rate * g.size), g.size - 1) for g in channels.groups}


@dataclass(eq=False)
class SoftPruning:
    """A hook of `Training.before_epoch` that zeroes `counts` units of each group as the criterion ranks them.

    `ramp` is how many epochs it takes until so many go: each of them zeroes a little more, so that what the
    network knows has time to move. `data` are calibration batches and `gradients` those of the loss, for
    criteria that look at them. `chosen` holds what was chosen for each epoch. After training,
    `remove` chooses once more and takes the units out of the graph.
    """

    network: Network
    counts: Counts
    criterion: str = "l2"
    ramp: int = 0
    data: Data = field(default_factory=Data)
    gradients: Gradients | None = None
    chosen: list[dict[str, list[int]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.channels = find_channels(self.network.structure)
        for name, count in self.counts.items():
            group = self.channels.by_name.get(name)
            if group is None or not 0 <= count < group.size:
                size = "no such group" if group is None else f"it has {group.size} units"
                raise SecateurError(f"{count} units of group '{name}' cannot be pruned: {size}")

    def __call__(self, _network: Network, epoch: int) -> None:
        self.chosen.append(self.choose(min(1.0, (epoch + 1) / (self.ramp + 1))))
        self.zero(self.chosen[-1])

    def choose(self, share: float = 1.0) -> dict[str, list[int]]:
        """The least important units of what the network has now: a share of those that go in the end."""
        evidence = Evidence(self.network.refreshed(), self.channels.groups, self.data, self.gradients)
        found = rankings(self.criterion, evidence)
        counts = {name: round(share * count) for name, count in self.counts.items()}
        return {name: found[name].gone(count).tolist() for name, count in counts.items() if count}

    def zero(self, gone: Gone) -> None:
        """Zeroes what these units add, and masks what has nothing to zero; masks of before are gone."""
        self.network.masks = dict(self._masks(gone))
        with torch.no_grad():
            for name, units in gone.items():
                for member in additive(self.channels.by_name[name]):
                    tensor = self.network.constant(member.value)
                    where = torch.from_numpy(np.flatnonzero(np.isin(member.units, list(units))))
                    tensor.index_fill_(member.axis, where.to(tensor.device), 0.0)

    def _masks(self, gone: Gone) -> Iterator[tuple[int, torch.Tensor]]:
        """Number of an operator, and 0 for those of its channels that go."""
        numbers = {op: number for number, op in enumerate(self.network.structure.operators)}
        for name, units in gone.items():
            group = self.channels.by_name[name]
            for op in group.makers:
                if not any(v.is_constant for v in op.operands):
                    member = group.member(op.result)
                    kept = torch.from_numpy(~np.isin(member.units, list(units))).to(torch.float32)
                    along = [-1 if a == member.axis else 1 for a in range(op.result.type.rank)]
                    yield numbers[op], kept.reshape(along)

    def remove(self) -> Graph:
        """The graph that was learned, without the least important units; nothing is masked any more."""
        self.network.masks = {}
        return remove(self.network.refreshed(), self.choose(), self.channels)


def additive(group: Group) -> Iterator[Member]:
    """The group's axes of learned constants that its channels are sums of: filters, biases, shifts."""
    for member in group.members:
        learned = member.value.is_constant and role_of(member.value) is Role.LEARNED
        if learned and any(_adds(group, member, op, at) for op, at in member.value.uses):
            yield member


def _adds(group: Group, member: Member, op: Operator, at: int) -> bool:
    if at == 1 and op.name in _FILTER_AXIS:
        axis = _FILTER_AXIS[op.name] % member.value.type.rank
        return op in group.makers and member.axis == axis
    if op.name == "nn.batch_norm":
        return at == 2
    return op.name in ("nn.add", "nn.sub") or (at >= 2 and _is_added(op, at))


def _is_added(op: Operator, at: int) -> bool:
    """Whether an extra operand of a fused operator is a term of a sum."""
    binary = [step.op for step in op.get("epilogue", ()) if step.function.arity == 2]
    return at - 2 < len(binary) and binary[at - 2] in ("add", "sub")
