"""What pruning did: to each group of channels, to each operator that is left, and to the network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol


@dataclass(frozen=True)
class GroupRow:
    """A group of channels: units before and after, and the importance lost with those that went.

    `importance` is that of all units together; None where it is not known. `block` is the block that they
    all went with, whose loss is not theirs.
    """

    name: str
    before: int
    after: int
    loss: float
    importance: float | None = None
    block: str = ""

    @property
    def pruned(self) -> bool:
        return self.after < self.before


@dataclass(frozen=True)
class BlockRow:
    """A residual block of which the skip is left, by the node that added it: the layers that went, what is
    lost."""

    name: str
    layers: tuple[str, ...]
    loss: float


@dataclass(frozen=True)
class SpaceRow:
    """A way to take the model that was tried: the importance lost, None where it cannot keep the limits."""

    name: str
    loss: float | None
    taken: bool


@dataclass(frozen=True)
class LayerState:
    """An operator of a compiled network: its result's shape, its primitive, seconds on one core."""

    shape: tuple[int, ...]
    primitive: str
    seconds: float


@dataclass(frozen=True)
class LayerRow:
    """An operator before and after, by its ONNX nodes; None where it is no longer, or was not."""

    name: str
    before: LayerState | None
    after: LayerState | None


@dataclass(frozen=True)
class Figures:
    """A network as a whole: multiply-accumulates, bytes of weights, of the arena, seconds on one core."""

    macs: int
    weights: int
    memory: int
    seconds: float


@dataclass(frozen=True)
class EpochRow:
    """An epoch of training, numbered from 1: the mean loss, and the share of held-out images that are right;
    None without any."""

    number: int
    loss: float
    accuracy: float | None


class Epoch(Protocol):
    """What training (`secateur.train.loop`) says of an epoch: its number from 0; NaN is not known."""

    @property
    def number(self) -> int: ...
    @property
    def loss(self) -> float: ...
    @property
    def accuracy(self) -> float: ...


Kept = Mapping[str, Mapping[int, Sequence[int]]]


@dataclass(frozen=True)
class PruningReport:
    """Groups and layers in the order of the network; figures before and after.

    `kept` gives for each initializer that lost something the indices that stay along each axis, so that
    a training framework can follow. `frozen` are sentences: what could not be pruned, and why. `accuracy`
    (before, then after, in percent) is None without labelled data; `criterion` is the one that judged;
    `repaired` are the layers whose weights were solved for anew, `blocks` what went whole.
    `spaces` are those of which the one that loses least was taken, if several were tried.
    `clock` are the seconds of both networks by the clock of the machine that pruned, where they were run.
    `model` and `target` are names, for people. `epochs` are those of the training that followed.
    """

    criterion: str
    groups: tuple[GroupRow, ...]
    layers: tuple[LayerRow, ...]
    before: Figures
    after: Figures
    kept: Kept
    frozen: tuple[str, ...]
    accuracy: tuple[float, float] | None = None
    repaired: tuple[str, ...] = ()
    model: str = ""
    target: str = ""
    blocks: tuple[BlockRow, ...] = ()
    epochs: tuple[EpochRow, ...] = ()
    spaces: tuple[SpaceRow, ...] = ()
    clock: tuple[float, float] | None = None

    def trained(self, epochs: Iterable[Epoch]) -> PruningReport:
        """With what training afterwards came to."""
        rows = (
            EpochRow(e.number + 1, e.loss, None if math.isnan(e.accuracy) else e.accuracy) for e in epochs
        )
        return replace(self, epochs=tuple(rows))

    @property
    def loss(self) -> float:
        """The importance lost, summed over groups and blocks."""
        return sum(row.loss for row in self.groups) + sum(row.loss for row in self.blocks)

    @property
    def importance(self) -> float | None:
        """The importance of all units of all groups; None where it is not known of one."""
        known = [row.importance for row in self.groups if row.importance is not None]
        return sum(known) if known and len(known) == len(self.groups) else None
