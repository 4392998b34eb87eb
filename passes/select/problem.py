"""What selection decides, without the IR: operators in schedule order, ways to compute each, values.

A way wants each operand in one layout and makes its results in one. A value is
made in one layout and converted to any other at most once, right before the
first operator that wants it there; such a copy is a tensor like any other. A
tensor is needed until its last reader, conversions included. Callers' buffers
hold graph inputs and outputs in the layout `external`; they take no arena.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

from ..memory.arena import align

Tensor = tuple[int, str]  # a value in a layout


class Sharing(Enum):
    """How a result's bytes relate to the operands'."""

    NONE = "none"
    VIEW = "view"  # they are the first operand's
    JOIN = "join"  # they are the operands', one after the other, where these can be made to lie so


@dataclass(frozen=True)
class Way:
    """One primitive at one combination of layouts.

    `seconds` on one core, `workspace` in bytes, `toll` what adds up over operators and has a limit
    (see `tolls.py`).
    `in_place` are the positions of operands that the result may overwrite.
    """

    name: str
    wants: tuple[str, ...]
    makes: str
    seconds: float
    workspace: int = 0
    toll: float = 0.0
    in_place: tuple[int, ...] = ()
    sharing: Sharing = Sharing.NONE


@dataclass(frozen=True)
class Step:
    """An operator: values read and made, by number, and the ways to compute it."""

    operands: tuple[int, ...]
    results: tuple[int, ...]
    ways: tuple[Way, ...]


Plan = tuple[int, ...]  # the number of the way that each step takes


@dataclass(frozen=True)
class Problem:
    """`bytes[v][layout]` is value v's size; `conversions[v, a, b]` are the seconds to convert v from a to b.

    A conversion that is missing is impossible. Inputs are made in `external`, outputs wanted there.
    """

    steps: tuple[Step, ...]
    bytes: tuple[Mapping[str, int], ...]
    conversions: Mapping[tuple[int, str, str], float]
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    external: str = "NCHW"

    @cached_property
    def ends(self) -> frozenset[int]:
        """Values in callers' buffers when they are in the layout `external`."""
        return frozenset((*self.inputs, *self.outputs))

    def arena_bytes(self, tensor: Tensor) -> int:
        """Bytes of arena that a tensor takes, aligned; 0 in a caller's buffer."""
        value, layout = tensor
        outside = layout == self.external and value in self.ends
        return 0 if outside else align(self.bytes[value][layout])

    @cached_property
    def _readers(self) -> Mapping[int, list[tuple[int, frozenset[str]]]]:
        """Each value's readers, as step numbers, and the layouts in which they may want it."""
        found: dict[int, list[tuple[int, frozenset[str]]]] = {}
        for i, step in enumerate((*self.steps, self.closing)):
            for value in dict.fromkeys(step.operands):
                at = [p for p, v in enumerate(step.operands) if v == value]
                found.setdefault(value, []).append((i, frozenset(w.wants[p] for w in step.ways for p in at)))
        return found

    def wanted_after(self, value: int, index: int) -> frozenset[str]:
        """The layouts in which steps after number `index` may read a value; none where no step reads it."""
        readers = self._readers.get(value, ())
        return frozenset().union(*(layouts for i, layouts in readers if i > index))

    @cached_property
    def closing(self) -> Step:
        """The step after the last: callers read the outputs."""
        outputs = tuple(dict.fromkeys(self.outputs))
        return Step(outputs, (), (Way("return", (self.external,) * len(outputs), self.external, 0.0),))


@dataclass(frozen=True)
class Costs:
    """What a plan costs: `seconds`, `peak` bytes of arena, and the sum of its `toll`."""

    seconds: float
    peak: int
    toll: float
