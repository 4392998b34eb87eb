"""Checks a placed graph by walking through it: does every operator still find its operands?

Independent of how the offsets were found. Every write into the arena spoils
the values it overlaps; an operator that reads a spoilt value is wrong.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from secateur.ir.errors import VerifyError
from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.verifier import neighbourhood

from .arena import ALIGNMENT
from .liveness import in_place_operands, is_join, is_view, join_offsets

OUTSIDE = -1


@dataclass(frozen=True)
class Range:
    """Bytes `low` to `high` (excluded) of the arena."""

    low: int
    high: int

    def overlaps(self, other: Range) -> bool:
        return self.low < other.high and other.low < self.high


def place_of(value: Value) -> Range | None:
    """Where a value lies in the arena, None where it lies in a caller's buffer or the weights."""
    op = value.producer
    if op is None or op.name == "nn.constant":
        return None
    offset = op["offset"][op.results.index(value)]
    return None if offset == OUTSIDE else Range(offset, offset + value.type.bytes)


def workspace_of(op: Operator) -> Range | None:
    """Where the operator's workspace lies."""
    size = op.get("workspace", 0)
    return Range(op["workspace_offset"], op["workspace_offset"] + size) if size else None


def region_of(op: Operator) -> Range | None:
    """Where the operator's constants are decoded before it computes."""
    size = op.get("streamed", 0)
    return Range(op["streamed_offset"], op["streamed_offset"] + size) if size else None


def _own(op: Operator) -> dict[str, Range]:
    """What an operator has to itself while it computes."""
    found = {"workspace": workspace_of(op), "region for constants": region_of(op)}
    return {what: place for what, place in found.items() if place is not None}


def stays_in_place(op: Operator) -> bool:
    """Whether a view's or a join's operands already lie where the result wants them: nothing need be done."""
    result = place_of(op.result) if is_view(op) or is_join(op) else None
    if result is None:
        return False
    starts = join_offsets(op) if is_join(op) else [0]
    places = map(place_of, op.operands)
    return all(p is not None and p.low == result.low + start for p, start in zip(places, starts, strict=True))


def _clashes(op: Operator) -> Iterator[str]:
    """What an operator has to itself, over another such thing, a result or an operand."""
    own = _own(op)
    places = {"its result": [place_of(r) for r in op.results]}
    places |= {f"operand %{v.name}": [place_of(v)] for v in op.operands}
    for what, place in own.items():
        for other, ranges in places.items():
            if any(r and r.overlaps(place) for r in ranges):
                yield f"its {what} overlaps {other}"
    if len(own) > 1 and own["workspace"].overlaps(own["region for constants"]):
        yield "its workspace overlaps its region for constants"


class _Intact:
    """Values whose bytes are as they were written, kept in the order of their places."""

    def __init__(self) -> None:
        self.numbers = count()
        self.places: dict[Value, tuple[Range, int]] = {}
        self.values: dict[int, Value] = {}
        self.order: list[tuple[int, int]] = []  # where a value begins, its number
        self.longest = 0

    def __contains__(self, value: Value) -> bool:
        return value in self.places

    def add(self, value: Value, place: Range) -> None:
        number = next(self.numbers)
        self.places[value], self.values[number] = (place, number), value
        insort(self.order, (place.low, number))
        self.longest = max(self.longest, place.high - place.low)

    def drop(self, value: Value) -> None:
        if value in self.places:
            place, number = self.places.pop(value)
            del self.values[number], self.order[bisect_left(self.order, (place.low, number))]

    def spoil(self, written: Range) -> None:
        """Drops the values that share bytes with `written`; none begins earlier than by the longest."""
        first = bisect_left(self.order, (written.low - self.longest, 0))
        last = bisect_left(self.order, (written.high, 0))
        for value in [self.values[number] for _, number in self.order[first:last]]:
            if self.places[value][0].overlaps(written):
                self.drop(value)


class _Walk:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.outputs = set(graph.outputs)
        self.intact = _Intact()
        self.last = {v: op for op in graph.operators for v in op.operands}

    def problems(self) -> Iterator[tuple[Operator, str]]:
        for op in self.graph.operators:
            if op.name != "nn.constant":
                yield from ((op, text) for text in self._visit(op))
                self._forget(op)

    def _visit(self, op: Operator) -> Iterator[str]:
        yield from self._reads(op)
        yield from self._conflicts(op)
        if stays_in_place(op):
            self._share(op)
            return
        for written in (*_own(op).values(), *map(place_of, op.results)):
            if written is not None:
                self.intact.spoil(written)
        for result in op.results:
            if (place := place_of(result)) is not None:
                self.intact.add(result, place)

    def _forget(self, op: Operator) -> None:
        """Drops what nobody reads any more, so that the walk stays linear."""
        for value in (*op.operands, *op.results):
            if self.last.get(value, op) is op:
                self.intact.drop(value)

    def _reads(self, op: Operator) -> Iterator[str]:
        for value in op.operands:
            if place_of(value) is not None and value not in self.intact:
                yield f"operand %{value.name} was overwritten before this operator reads it"

    def _conflicts(self, op: Operator) -> Iterator[str]:
        """Writes of one operator into its own operands, workspace or the caller's values."""
        shared = self._shared(op)
        yield from _clashes(op)
        for result in op.results:
            place = place_of(result)
            yield from self._badly_placed(result, place)
            for value in op.operands:
                other = place_of(value)
                if place and other and place.overlaps(other) and value not in shared:
                    yield f"its result overlaps operand %{value.name}"

    def _shared(self, op: Operator) -> set[Value]:
        """Operands that the result may lie on: those it overwrites, or all where it is their bytes."""
        if is_view(op) or is_join(op):
            return set(op.operands) if stays_in_place(op) else set()
        result, over = place_of(op.result), in_place_operands(op)
        read_otherwise = {v for i, v in enumerate(op.operands) if i not in over}
        places = {v: place_of(v) for i in over if (v := op.operands[i]) not in read_otherwise}
        return {v for v, place in places.items() if place and result and place.low == result.low}

    def _badly_placed(self, value: Value, place: Range | None) -> Iterator[str]:
        outside = value in self.outputs
        if outside != (place is None):
            yield "a graph output must have no place in the arena" if outside else "its result has no place"
        if place is not None and (place.low < 0 or place.low % ALIGNMENT):
            yield f"offset {place.low} is no multiple of {ALIGNMENT}"

    def _share(self, op: Operator) -> None:
        """Operands in place: nothing is written, but the result is only as intact as they are."""
        place = place_of(op.result)
        if place is not None and all(v in self.intact for v in op.operands):
            self.intact.add(op.result, place)


def check_placement(graph: Graph) -> None:
    """Raises VerifyError at the first operator of a placed graph whose operands do not survive."""
    uses, inputs = Counter(graph.outputs), set(graph.inputs)
    for value, name in zip(graph.outputs, graph.output_names, strict=True):
        if value in inputs or value.is_constant or uses[value] > 1:
            raise VerifyError(f"output '{name}' has no buffer of its own to be written to")
    for op, message in _Walk(graph).problems():
        raise VerifyError(f"{op.called}: {message}\n{neighbourhood(graph, op)}")
