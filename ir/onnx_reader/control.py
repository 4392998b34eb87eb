"""If, Loop and Scan, where what they decide is known while reading: branches taken, loops unrolled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..graph import Value, constant_of
from ..ops.rules import normalize_axis
from ..types import extents
from .inputs import declared
from .node import Body, Handler, Node, NodeError, UnsupportedError
from .tensors import Array, dtype_of


def _scalar(value: Any, what: str) -> Any:
    """The single element of a known value; UnsupportedError where it is not known."""
    array = constant_of(value) if isinstance(value, Value) else None
    if array is None:
        raise UnsupportedError(f"{what} is not known while reading")
    if array.size != 1:
        raise NodeError(f"{what} has shape {extents(array.shape)}, one element is needed")
    return array.reshape(()).item()


def if_(node: Node) -> list[Any]:
    taken = _scalar(node.input(0), "its condition")
    return node.inline(node.body("then_branch" if taken else "else_branch"), [])


# Loops -----------------------------------------------------------------------------------------------


@dataclass
class _Collected:
    """The parts of a result that a loop makes slice by slice along `axis`."""

    body: Body
    name: str
    axis: int = 0
    backward: bool = False
    parts: list[Value] = field(default_factory=list)

    def result(self, node: Node) -> Value:
        if not self.parts:
            return node.constant(self._empty())
        rank = self.parts[0].type.rank + 1
        axis = normalize_axis(self.axis, rank)
        slices = [node.with_axis(part, axis) for part in self.parts]
        return node.emit("concat", slices[::-1] if self.backward else slices, axis=axis)

    def _empty(self) -> Array:
        """Of a loop that does not run; only the file knows what it would have been."""
        info = self.body.types.get(self.name)
        dims = declared(info) if info is not None else None
        if info is None or dims is None or not all(isinstance(d, int) for d in dims):
            raise NodeError(f"runs no iteration, and the shape of '{self.name}' is not declared")
        shape = [d for d in dims if isinstance(d, int)]
        shape.insert(normalize_axis(self.axis, len(shape) + 1), 0)
        return np.zeros(shape, dtype_of(info.type.tensor_type.elem_type).numpy)


def _collect(collected: Sequence[_Collected], values: Sequence[Any]) -> None:
    for each, value in zip(collected, values, strict=True):
        if not isinstance(value, Value):
            raise UnsupportedError("a result of its body cannot be read")
        each.parts.append(value)


def loop(node: Node) -> list[Any]:
    """Unrolled: the number of iterations, or the condition after each, must be known."""
    body, carried = node.body("body"), list(node.inputs[2:])
    trips = _scalar(node.input(0), "its number of iterations") if node.optional(0) else None
    going = _scalar(node.input(1), "its condition") if node.optional(1) else True
    collected = [_Collected(body, name) for name in body.outputs[1 + len(carried) :]]
    count = 0
    while going and (trips is None or count < trips):
        condition = node.constant(np.array(True))
        found = node.inline(
            body, [node.constant(np.array(count, np.int64)), condition, *carried], f"{node.loc}.{count}"
        )
        carried = found[1 : 1 + len(carried)]
        _collect(collected, found[1 + len(carried) :])
        going = _scalar(found[0], "the condition after an iteration")
        count += 1
    return [*carried, *(each.result(node) for each in collected)]


def scan(node: Node) -> list[Any]:
    """Unrolled over the extent of the scanned axes."""
    if node.opset < 9:
        raise UnsupportedError("the form of opset 8")
    body, scanned = node.body("body"), node.integer("num_scan_inputs")
    if not 1 <= scanned <= len(node.inputs):
        raise NodeError(f"attribute 'num_scan_inputs' is {scanned}, the node has {len(node.inputs)} inputs")
    states = list(node.inputs[: len(node.inputs) - scanned])
    slices = _scanned(node, len(states), scanned)
    collected = _outputs(node, body, len(states))
    for step, parts in enumerate(slices):
        found = node.inline(body, [*states, *parts], f"{node.loc}.{step}")
        states = found[: len(states)]
        _collect(collected, found[len(states) :])
    return [*states, *(each.result(node) for each in collected)]


def _per_input(node: Node, name: str, count: int) -> tuple[int, ...]:
    found = node.ints(name, (0,) * count)
    if len(found) != count:
        raise NodeError(f"attribute '{name}' is {found}, {count} numbers are needed")
    return found


def _scanned(node: Node, first: int, count: int) -> list[list[Value]]:
    """For each step the slices of the scanned inputs."""
    axes = _per_input(node, "scan_input_axes", count)
    directions = _per_input(node, "scan_input_directions", count)
    columns = []
    for i in range(count):
        x = node.input(first + i)
        columns.append(_slices(node, x, normalize_axis(axes[i], x.type.rank))[:: -1 if directions[i] else 1])
    if len({len(column) for column in columns}) != 1:
        raise NodeError("the scanned inputs differ in extent")
    return [list(row) for row in zip(*columns, strict=True)]


def _slices(node: Node, x: Value, axis: int) -> list[Value]:
    """`x` cut along `axis`, without it."""
    shape, rest = x.type.shape, (*x.type.shape[:axis], *x.type.shape[axis + 1 :])
    sizes = tuple(1 if i == axis else d for i, d in enumerate(shape))
    found = []
    for at in range(shape[axis]):
        starts = tuple(at if i == axis else 0 for i in range(len(shape)))
        cut = node.emit("slice", [x], starts=starts, sizes=sizes, steps=(1,) * len(shape))
        found.append(node.emit("reshape", [cut], shape=rest))
    return found


def _outputs(node: Node, body: Body, states: int) -> list[_Collected]:
    names = body.outputs[states:]
    axes = _per_input(node, "scan_output_axes", len(names))
    directions = _per_input(node, "scan_output_directions", len(names))
    return [
        _Collected(body, name, axis, bool(direction))
        for name, axis, direction in zip(names, axes, directions, strict=True)
    ]


STRUCTURE: dict[str, Handler] = {"If": if_, "Loop": loop, "Scan": scan}
