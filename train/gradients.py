"""Gradients of the loss, for criteria that ask how much it changes when a weight goes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch.nn import functional

from ..ir.errors import SecateurError
from ..ir.graph import Graph, Value
from .data import Labelled
from .learned import constants
from .loop import check_classes, logits_of
from .network import Network

Array = NDArray[Any]


def gradients(data: Labelled, batch: int = 50) -> Callable[[Graph, Sequence[Value]], Iterable[list[Array]]]:
    """A function that gives, for each batch of `data`, the mean loss's gradient by each of some constants.

    The network is evaluated as it would be used: batch normalizations keep their running statistics.
    """

    def of(graph: Graph, values: Sequence[Value]) -> Iterator[list[Array]]:
        network = Network(graph)
        network.eval()
        check_classes(network, data)
        tensors = _tensors(network, graph, values)
        for images, labels in zip(data.images.split(batch), data.labels.split(batch), strict=True):
            loss = functional.cross_entropy(logits_of(network, images), labels)
            found = torch.autograd.grad(loss, tensors, allow_unused=True)
            yield [
                (torch.zeros_like(t) if g is None else g).numpy() for g, t in zip(found, tensors, strict=True)
            ]

    return of


def _tensors(network: Network, graph: Graph, values: Sequence[Value]) -> list[torch.nn.Parameter]:
    """The parameters of the network that the graph's constants became."""
    pairs = zip(constants(graph), constants(network.structure), strict=True)
    ours = {before.result: network.constant(after.result) for before, after in pairs}
    missing = [v.name for v in values if not getattr(ours.get(v), "requires_grad", False)]
    if missing:
        raise SecateurError(f"no gradient by {', '.join(missing)}: not a learned constant of the graph")
    return [ours[v] for v in values]
