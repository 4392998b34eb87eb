"""A stream of batches that fit a graph's inputs, and what every way of reading one shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Value

Array = NDArray[Any]
Batch = dict[str, Array]


class _Shaped(Protocol):
    """An array, or what is known of one that is not read yet."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...


@dataclass(frozen=True, eq=False)
class Source:
    """Batches that fit a graph's inputs, read anew by each `iter`.

    `images` counts them (0: not known before they are read); those that do not
    fill a last batch are left out. `labels` is one class an image, int64, where
    the source has them.
    """

    batch: int
    images: int
    read: Callable[[], Iterator[Batch]]
    labels: NDArray[np.int64] | None = None

    def __iter__(self) -> Iterator[Batch]:
        return self.read()

    def __length_hint__(self) -> int:
        return self.images // self.batch

    def labelled(self) -> Iterator[tuple[Batch, NDArray[np.int64]]]:
        """Batches with their labels; SecateurError where the source has none."""
        if self.labels is None:
            raise SecateurError(
                "accuracy and the criterion taylor need labels: an .npz with an array 'labels', a folder "
                "with a subfolder for each class, or a list file with a class number behind each path"
            )
        for index, batch in enumerate(self):
            yield batch, self.labels[index * self.batch : (index + 1) * self.batch]


# What the inputs want ------------------------------------------------------------------------------


def batch_size(graph: Graph) -> int | None:
    """The leading extent that all inputs share; None where they share none, and one image is a whole run."""
    sizes = {v.type.shape[:1] for v in graph.inputs}
    if len(sizes) != 1 or () in sizes or (0,) in sizes:
        return None
    return sizes.pop()[0]


def image_shape(graph: Graph, port: Value) -> tuple[int, ...]:
    """What one image holds of an input."""
    return port.type.shape if batch_size(graph) is None else port.type.shape[1:]


def only_input(graph: Graph, what: str) -> Value:
    if len(graph.inputs) != 1:
        names = ", ".join(f"'{v.name}'" for v in graph.inputs)
        raise SecateurError(
            f"{what} feeds one input, the model has {names}; give an .npz with an array for each"
        )
    return graph.inputs[0]


def image_count(array: _Shaped, graph: Graph, port: Value, where: str) -> int:
    """How many images an array holds for `port`: N x one image, or N x a whole batch."""
    type, shape, dtype, one = port.type, tuple(array.shape), array.dtype, image_shape(graph, port)
    wanted = type.dtype.numpy
    if not (dtype == wanted or (dtype.kind == "f" and wanted.kind == "f")):
        pixels = "; pixels must be prepared first (scaled, normalized)" if dtype == np.uint8 else ""
        raise SecateurError(f"{where} holds {dtype}, input '{port.name}' is {wanted}{pixels}")
    if shape and shape[1:] == one:
        return shape[0]
    if shape and shape[1:] == type.shape:
        return shape[0] * type.shape[0]
    wanted_shape = ", ".join(map(str, ("N", *one)))
    raise SecateurError(f"{where} has shape {shape}, input '{port.name}' takes images of ({wanted_shape})")


def spread(count: int, limit: int | None) -> range | list[int]:
    """Indices of at most `limit` of `count`, evenly spread."""
    if limit is None or limit >= count:
        return range(count)
    return [i * count // limit for i in range(limit)]


def _enough(chosen: Sequence[int], batch: int, where: object) -> None:
    if len(chosen) < batch:
        of = f"the model's batch is {batch}" if chosen else "it is empty"
        raise SecateurError(f"{where}: {len(chosen)} images are too few: {of}")


def _batched(images: Iterator[Batch], batch: int) -> Iterator[Batch]:
    """Full batches of single images."""
    waiting: list[Batch] = []
    for image in images:
        waiting.append(image)
        if len(waiting) == batch:
            yield {name: np.stack([one[name] for one in waiting]) for name in image}
            waiting.clear()


def source_of(
    graph: Graph,
    chosen: Sequence[int],
    read: Callable[[], Iterator[Batch]],
    where: object,
    labels: NDArray[np.int64] | None = None,
) -> Source:
    batch = batch_size(graph)
    _enough(chosen, batch or 1, where)
    kept = None if labels is None else labels[list(chosen)]
    if batch is None:
        return Source(1, len(chosen), read, kept)
    return Source(batch, len(chosen), lambda: _batched(read(), batch), kept)
