"""Streams batches through a graph: one histogram for each value, however many images there are.

A value goes by its name, which passes keep (the names that the printed IR
shows: an ONNX name, a suffix such as `__1` where a name stands twice).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Value
from secateur.ir.support.progress import Progress, silent
from secateur.ir.support.words import listed
from secateur.ir.types import DType

from .executor import Array, Arrays, Executor, interpreted
from .histogram import Histogram


class Accumulator(Protocol):
    """Takes in one array after another, and keeps a fixed amount of what they say."""

    def add(self, array: Array) -> None: ...


Accumulating = TypeVar("Accumulating", bound=Accumulator)


@dataclass(frozen=True, eq=False)
class Statistics:
    """A histogram for each value, by the value's name in `value_names`, and how many images were seen."""

    images: int
    histograms: Mapping[str, Histogram]


# Names ---------------------------------------------------------------------------------------------


def value_names(graph: Graph) -> dict[Value, str]:
    """A unique name for every value, the same for equal graphs: its own, else its ONNX node's or operator's.

    Where a name is wanted more than once, the later ones get `__1`, `__2`, ...
    """
    names: dict[Value, str] = {}
    taken = {v.name for v in graph.values()}
    used: set[str] = set()
    for value in graph.values():
        names[value] = _unique(_wanted(value), used, taken)
        used.add(names[value])
    return names


def _wanted(value: Value) -> str:
    return value.name or (value.producer.loc or value.producer.name if value.producer else "input")


def _unique(wanted: str, used: set[str], taken: set[str]) -> str:
    if wanted not in used:
        return wanted
    number = 1
    while (name := f"{wanted}__{number}") in used or name in taken:
        number += 1
    return name


def quantizable(graph: Graph) -> dict[str, Value]:
    """The values that an int8 network may quantize, by name: f32 inputs and results that are no constants."""
    return {
        name: value
        for value, name in value_names(graph).items()
        if value.type.dtype == DType.F32 and graph.is_used(value) and not value.is_constant
    }


def _chosen(graph: Graph, names: Collection[str] | None) -> dict[str, Value]:
    known = quantizable(graph)
    if names is None:
        return known
    if unknown := [name for name in names if name not in known]:
        raise SecateurError(f"no real value is called {listed(unknown, known)}")
    return {name: known[name] for name in known if name in names}


# Collecting ----------------------------------------------------------------------------------------


def stream(
    graph: Graph,
    batches: Iterable[Arrays],
    names: Collection[str] | None,
    accumulator: Callable[[], Accumulating],
    *,
    execute: Executor = interpreted,
    progress: Progress = silent,
) -> tuple[dict[str, Accumulating], int]:
    """Runs every batch (arrays by input name) and shows the values called `names` to an accumulator each.

    By default all f32 values. Returns the accumulators by name, and the images seen. Neither a batch nor a
    value is kept. `progress` gets the batches done, 0 first, and their number, 0 where `batches` does not
    tell it. Raises SecateurError where there is no batch, one does not fit the graph, or a name is unknown.
    """
    chosen = _chosen(graph, names)
    found = {name: accumulator() for name in chosen}
    seen, total = list[int](), operator.length_hint(batches)
    progress("calibration", 0, total)
    counted = (_counted(graph, batch, seen) for batch in batches)
    for done, arrays in enumerate(execute(graph, counted, list(chosen.values())), 1):
        for accumulating, array in zip(found.values(), arrays, strict=True):
            accumulating.add(array)
        progress("calibration", done, total)
    if not sum(seen):
        raise SecateurError("calibration: there is not one image to run")
    return found, sum(seen)


def _counted(graph: Graph, batch: Arrays, seen: list[int]) -> Arrays:
    """The batch; its number of images goes to `seen`."""
    seen.append(_images(graph, batch))
    return batch


def _images(graph: Graph, batch: Arrays) -> int:
    """The leading extent of the first input; 1 for a scalar, or where there is none."""
    array = batch.get(graph.inputs[0].name) if graph.inputs else None
    return len(array) if array is not None and array.ndim else 1
