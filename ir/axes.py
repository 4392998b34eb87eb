"""How an operator declares the dependencies between its axes: the words of `OpDef.axes`.

An *element* is one index along one axis of one operand or result, such as channel
5 of a convolution's input. A rule yields relations between elements, from which
`ir.channels` derives what must be removed together. Elements of an axis that a rule
leaves out stay for ever, with the reason `Axes.rest`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .types import TensorType

Indices = NDArray[np.int64]
OUT = -1
"""The port that is the operator's result; operands are ports 0 and up."""


@dataclass(frozen=True)
class Axis:
    """An axis of a port."""

    port: int
    axis: int


@dataclass(frozen=True, eq=False)
class Tie:
    """Element i[k] of `a` and element j[k] of `b` live and die together; None: all in order."""

    a: Axis
    b: Axis
    i: Indices | None = None
    j: Indices | None = None


@dataclass(frozen=True)
class Summed:
    """Terms of a sum lie along the axis, of which one that is zero (or the zero point) may be left out.

    `all_of_it`: the operator does without any, so that the axis may lose all that it has.
    """

    at: Axis
    all_of_it: bool = False


@dataclass(frozen=True)
class Free:
    """Elements of the axis may go alone."""

    at: Axis


@dataclass(frozen=True)
class Fixed:
    """The axis stays as it is, because the operator `reason` ("takes the softmax along axis 1")."""

    at: Axis
    reason: str


@dataclass(frozen=True, eq=False)
class OneOf:
    """Only one of several ties can be followed: the first whose axes nothing else fixes. `axes` are
    all that they are about; those that are not followed stay, because the operator `reason`.
    """

    options: tuple[Tie, ...]
    axes: tuple[Axis, ...]
    reason: str


Kind = Literal["needs", "zero", "useless"]


@dataclass(frozen=True, eq=False)
class Follow:
    """A one-way dependency: element j[k] of `effect` follows element i[k] of `cause`.

    `needs`: it goes when the cause goes. `zero`: it is a sum of its causes, and goes when all are gone.
    `useless`: here it serves its causes alone, and goes when all are gone and nothing else uses it.
    """

    kind: Kind
    cause: Axis
    effect: Axis
    i: Indices | None = None
    j: Indices | None = None


Relation = Tie | Summed | Free | Fixed | OneOf | Follow


@dataclass(frozen=True, eq=False)
class Ports:
    """What a rule sees: types of operands and result, attributes, and the operands that are constants."""

    types: Sequence[TensorType]
    result: TensorType
    attributes: Mapping[str, Any]
    constants: Sequence[NDArray[Any] | None] = ()

    def __getitem__(self, name: str) -> Any:
        return self.attributes[name]

    def type(self, port: int) -> TensorType:
        return self.result if port == OUT else self.types[port]

    def extent(self, at: Axis) -> int:
        return self.type(at.port).shape[at.axis]


@dataclass(frozen=True, eq=False)
class Narrowing:
    """An operator about to lose elements: its ports as they are, and what is kept of each axis."""

    ports: Ports
    kept_of: Callable[[Axis], Indices] = field(repr=False)

    def __getitem__(self, name: str) -> Any:
        return self.ports.attributes[name]

    def kept(self, port: int, axis: int) -> Indices:
        """Indices that stay, ascending."""
        return self.kept_of(Axis(port, axis))

    def shape(self, port: int) -> tuple[int, ...]:
        """The port's shape afterwards."""
        return tuple(len(self.kept(port, a)) for a in range(self.ports.type(port).rank))

    def whole(self, port: int, axis: int) -> bool:
        """Whether the axis loses nothing."""
        return len(self.kept(port, axis)) == self.ports.extent(Axis(port, axis))


def _as_they_are(_narrowing: Narrowing) -> Mapping[str, Any]:
    return {}


def _no_constants(_narrowing: Narrowing) -> Mapping[int, NDArray[Any]]:
    return {}


@dataclass(frozen=True)
class Axes:
    """What an operator declares: relations, why other axes stay, and what removal does to its attributes.

    `attributes` gives the attributes that change; `constants` the elements of constant operands that
    change (and not only lose elements), by operand.
    """

    relations: Callable[[Ports], Iterable[Relation]]
    rest: str
    attributes: Callable[[Narrowing], Mapping[str, Any]] = _as_they_are
    constants: Callable[[Narrowing], Mapping[int, NDArray[Any]]] = _no_constants


def frozen(reason: str) -> Axes:
    """Axes of an operator that nothing is removed from, because it `reason`; for operators of your own."""
    return Axes(lambda _ports: (), reason)
