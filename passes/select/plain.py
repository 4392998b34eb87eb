"""Outcomes of a step where no bytes are shared but in place: the same as in `states`, found by addition.

Most steps are so: each operand stands in a column of its own and each of its
tensors in a buffer of its own. Then the operands' options are independent but
for the order of conversions, and bytes live add up. A join or view is plain too
where all its operands die in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, product
from typing import NamedTuple

from ..memory.arena import ALIGNMENT, align
from .problem import Problem, Sharing, Way
from .sharing import Buffer
from .states import ColumnState, Moment, Outcome
from .values import ValueState, kept_states, seconds_to_read


class Option(NamedTuple):
    """What may become of an operand, `after` is None where it dies; bytes that it takes along the step.

    `converting` is 0 where nothing is converted; `freed` where something needs the tensor read afterwards.
    """

    after: ColumnState | None
    seconds: float
    before: int
    converting: int
    reading: int
    freed: int


class _Form(NamedTuple):
    """Ways with the same layouts, by number, the bytes of their results, and the results' columns.

    `shared` are the operands of which one that dies leaves its bytes to the result.
    """

    way: Way
    shared: tuple[int, ...]
    alike: tuple[tuple[int, Way, int], ...]
    results: tuple[int, ...]
    born: tuple[ColumnState, ...]


class PlainMoment:
    """A step seen this way; `outcomes` gives None where it cannot be."""

    def __init__(self, moment: Moment) -> None:
        self.moment, self.problem, self.step = moment, moment.problem, moment.step
        self._known: dict[ValueState, dict[str, list[Option]]] = {}
        self.forms = [self._form(alike) for alike in moment.forms]
        self._by_wants: dict[tuple[str, ...], list[_Form]] = {}
        for form in self.forms:
            self._by_wants.setdefault(form.way.wants, []).append(form)
        dies = not any(moment.wanted_later[v] for v in self.step.operands)
        self.simple = len(set(self.step.operands)) == len(self.step.operands)
        self.simple &= not moment.linking or (dies and len(self.step.results) == 1)
        self.simple &= all(self._fits(form) for form in self.forms)

    def _form(self, alike: Sequence[int]) -> _Form:
        ways = [(number, self.step.ways[number]) for number in alike]
        way = ways[0][1]
        results = tuple(self.problem.arena_bytes((v, way.makes)) for v in self.step.results)
        shared = way.in_place if way.sharing is Sharing.NONE else (0,)
        return _Form(
            way,
            shared if len(results) == 1 and results[0] else (),
            tuple((number, w, align(w.workspace)) for number, w in ways),
            results,
            tuple(plain(self.problem, s) for s in self.moment.born(way)),
        )

    def _fits(self, form: _Form) -> bool:
        """Whether the result takes the very bytes of the operand that it overwrites or views, or of all."""
        way, size = form.way, sum(form.results)
        if len(form.results) != 1 or not size:
            return True
        tensors = list(zip(self.step.operands, way.wants, strict=True))
        read = [self.problem.arena_bytes(t) for t in tensors]
        if way.sharing is Sharing.VIEW:
            return len(read) == 1 and read[0] in (0, size)
        if way.sharing is Sharing.JOIN:
            starts = accumulate(self.problem.bytes[v][layout] for v, layout in tensors[:-1])
            return all(read) and sum(read) <= size and not any(start % ALIGNMENT for start in starts)
        return all(read[i] in (0, size) for i in way.in_place)

    def outcomes(self, before: Sequence[ColumnState]) -> Iterator[Outcome] | None:
        """Every outcome from a combination of columns, or None where bytes are shared."""
        if not self.simple or not all(is_plain(self.problem, column) for column in before):
            return None
        return self._outcomes(before)

    def _outcomes(self, before: Sequence[ColumnState]) -> Iterator[Outcome]:
        states = {column.values[0].value: column.values[0] for column in before}
        order = [self.step.operands.index(value) for value in states]
        options = [self._options(states[value]) for value in self.step.operands]
        for wants, forms in self._by_wants.items():
            for chosen in product(*(by[layout] for by, layout in zip(options, wants, strict=True))):
                left = tuple(s for i in order if (s := chosen[i].after) is not None)
                yield from self._made(forms, chosen, left)

    @staticmethod
    def _made(
        forms: Sequence[_Form], chosen: Sequence[Option], left: tuple[ColumnState, ...]
    ) -> Iterator[Outcome]:
        """What each form makes where this becomes of the operands, of which some are `left`."""
        peak, now = _bytes(chosen)
        seconds = sum(o.seconds for o in chosen)
        for form in forms:
            during = now if any(chosen[i].freed for i in form.shared) else now + sum(form.results)
            after = (*left, *form.born)
            for number, way, workspace in form.alike:
                need = max(peak, during + workspace)
                yield Outcome(after, number, seconds + way.seconds, need, way.toll)

    def _options(self, state: ValueState) -> dict[str, list[Option]]:
        """What may become of an operand that is wanted in each layout; nothing where that is impossible."""
        if state not in self._known:
            position = self.step.operands.index(state.value)
            wanted = dict.fromkeys(form.way.wants[position] for form in self.forms)
            self._known[state] = {layout: list(self._find_options(state, layout)) for layout in wanted}
        return self._known[state]

    def _find_options(self, state: ValueState, layout: str) -> Iterator[Option]:
        value = state.value
        seconds = seconds_to_read(self.problem, state, layout)
        if seconds is None:
            return
        converted = layout not in state.alive
        read = {layout, state.made} if converted else {layout}
        present = {*state.alive, layout}
        size = {x: self.problem.arena_bytes((value, x)) for x in present}
        before = sum(size[x] for x in state.alive)
        converting = before + size[layout] if converted else 0
        for after in kept_states(state, present, read, self.moment.wanted_later[value]):
            gone = {state.made} - set(after.alive) if converted else set()
            reading = sum(size[x] for x in present - gone)
            freed = 0 if layout in after.alive else size[layout]
            column = plain(self.problem, after) if after.alive else None
            yield Option(column, seconds, before, converting, reading, freed)


def _bytes(chosen: Sequence[Option]) -> tuple[int, int]:
    """The most bytes that the operands take in a conversion, and what they take at the operator."""
    peak, now = 0, sum(o.before for o in chosen)
    for option in chosen:
        if option.converting:
            peak = max(peak, now - option.before + option.converting)
        now += option.reading - option.before
    return peak, now


def plain(problem: Problem, state: ValueState) -> ColumnState:
    """The column of a value whose tensors each have a buffer of their own."""
    tensors = [(state.value, layout) for layout in state.alive]
    sized = [(problem.arena_bytes(t), t) for t in tensors]
    return ColumnState((state,), tuple(sorted(Buffer(size, ((t, 0),)) for size, t in sized if size)))


def is_plain(problem: Problem, column: ColumnState) -> bool:
    """Whether a column is of that kind."""
    if len(column.values) != 1:
        return False
    return all(
        len(b.members) == 1 and b.members[0][1] == 0 and b.size == problem.arena_bytes(b.members[0][0])
        for b in column.buffers
    )
