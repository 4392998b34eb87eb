"""The code of recurrences: sums of a step in register tiles, then what each cell makes of them.

The workspace holds vectors of H elements, in the type of sums: the hidden state before and
after a step, by turns; then an LSTM's cell state, or a GRU's z and r h.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from secateur.ir.elementwise import Step
from secateur.ir.ops.recurrent import GATES

from ...rounding import up
from ...tir import Registers, T, load, splat, store, view
from ...vector.loops import Expr, each_vector
from ...vector.numeric import Numeric, convert, multiply_add
from ...vector.shuffles import hold

SUMS = 8  # vectors of sums in a tile, to hide the latency of a multiply-add
Sums = Sequence[Any]  # for each gate of a tile, registers of its vectors
Start = Callable[["Tile", int, int], Any]
STATES = {"lstm": 3, "gru": 4, "rnn": 2}  # vectors of H that a sequence keeps


@dataclass(frozen=True)
class RecurrenceSpec:
    """`cell` over `steps` of `batch` sequences; `backwards` tells for each direction.

    `packed` weights are [direction][tile][unit read][gate][unit of the tile], others as the
    operator has them. `extra` is whether peepholes or a bias are there; `places` are the
    pointers of the operands.
    """

    cell: str
    steps: int
    batch: int
    hidden: int
    backwards: tuple[bool, ...]
    activations: tuple[Step, ...]
    clip: float
    dtype: str
    packed: bool
    extra: bool
    reset_after: bool
    last_cell: bool
    places: tuple[int, ...]

    @property
    def computed(self) -> str:
        return "float32" if self.dtype == "float16" else self.dtype

    @property
    def gates(self) -> int:
        return GATES[self.cell]

    @property
    def state_stride(self) -> int:
        """Elements from state to state in the workspace: whole cache lines."""
        return up(self.hidden, 16)

    @property
    def workspace(self) -> int:
        return STATES[self.cell] * self.state_stride * np.dtype(self.computed).itemsize

    def tile(self, lanes: int) -> int:
        """Units of a tile."""
        return max(1, SUMS // self.gates) * lanes


@dataclass(frozen=True)
class Tile:
    """`vectors` vectors of `width` units from `start` on, in the `number`-th packed tile from `offset` on."""

    start: Expr
    vectors: int
    width: int
    number: Expr
    offset: int


@dataclass(frozen=True)
class Phase:
    """Of a step: `gates` begin at `start` (of tile, gate, vector), add weights times the vector of the
    workspace from `state` on, and go to `finish`. It needs all units of the phase before."""

    gates: tuple[int, ...]
    start: Start
    state: Expr
    finish: Callable[[Tile, Sums], None]


class Cell:
    """Emits the tasks: a sequence in one direction each, step by step."""

    def __init__(self, spec: RecurrenceSpec, lanes: int) -> None:
        self.spec, self.lanes, self.stride = spec, lanes, spec.state_stride

    def __call__(self, *arguments: Any) -> None:
        *inputs, self.result, workspace, begin, end = arguments
        self.gates, self.weights, self.hidden, *self.rest = (inputs[p] for p in self.spec.places)
        self.states = workspace if self.spec.computed == "float32" else view(workspace, self.spec.computed)
        if not self.spec.batch:
            T.evaluate(0)
            return
        with T.serial(begin, end) as task:
            self.direction, self.sequence = (
                T.truncdiv(task, self.spec.batch),
                T.truncmod(task, self.spec.batch),
            )
            self.start()
            with T.serial(0, self.spec.steps) as turn:
                self.step(turn)
            self.finish()

    def start(self) -> None:
        self.copy_state(self.hidden, 0)

    def copy_state(self, source: Any, slot: int) -> None:
        """An initial state of this sequence into the workspace."""

        def copy(i: Expr, width: int) -> None:
            at = (self.direction * self.spec.batch + self.sequence) * self.spec.hidden
            self.keep(slot + i, self.read(source, at + i, width), width)

        self.each_unit(copy)

    def each_unit(self, body: Callable[[Expr, int], None]) -> None:
        """Of this sequence's states: (first unit, how many)."""
        each_vector(self.spec.hidden, self.lanes, body)

    def finish(self) -> None:
        """What follows the last step."""

    def step(self, turn: Expr) -> None:
        self.time = self.time_of(turn)
        self.before = T.truncmod(turn, 2) * self.stride
        self.after = self.stride - self.before
        for phase in self.phases():
            self.run(phase)

    def kept(self, number: int) -> int:
        """Where a vector lies that the cell keeps beside the hidden state."""
        return (2 + number) * self.stride

    def time_of(self, turn: Expr) -> Expr:
        back = self.spec.steps - 1 - turn
        if len(set(self.spec.backwards)) == 1:
            return back if self.spec.backwards[0] else turn
        return T.Select(self.direction == 0, turn, back)

    def phases(self) -> tuple[Phase, ...]:
        raise NotImplementedError

    # Sums

    def run(self, phase: Phase) -> None:
        """A phase of all units."""
        self.each_tile(partial(self._phase, phase))

    def _phase(self, phase: Phase, tile: Tile) -> None:
        sums = [Registers(tile.vectors, tile.width, self.spec.computed) for _ in phase.gates]
        for registers, gate in zip(sums, phase.gates, strict=True):
            for i in range(tile.vectors):
                registers[i] = phase.start(tile, gate, i)
        self._product(tile, phase, sums)
        phase.finish(tile, sums)

    def each_tile(self, body: Callable[[Tile], None]) -> None:
        """Whole tiles in a loop; then vectors, and what is left, of the last packed tile."""
        size = self.spec.tile(self.lanes)
        whole, rest = divmod(self.spec.hidden, size)
        if whole:
            with T.serial(0, whole) as number:
                body(Tile(number * size, size // self.lanes, self.lanes, number, 0))
        vectors, left = divmod(rest, self.lanes)
        if vectors:
            body(Tile(whole * size, vectors, self.lanes, whole, 0))
        if left:
            body(Tile(whole * size + vectors * self.lanes, 1, left, whole, vectors * self.lanes))

    def gate(self, tile: Tile, gate: int, vector: int) -> Expr:
        """What the input contributes to a gate at this step."""
        spec = self.spec
        directions, hidden = len(spec.backwards), spec.hidden
        row = (self.time * spec.batch + self.sequence) * directions + self.direction
        at = (row * spec.gates + gate) * hidden + tile.start + vector * tile.width
        return self.read(self.gates, at, tile.width)

    def _product(self, tile: Tile, phase: Phase, sums: Sums) -> None:
        """Adds to each gate's sums the phase's state times the gate's weights."""
        with T.serial(0, self.spec.hidden) as k:
            element = splat(load(self.states, phase.state + k, 1), tile.width)
            for gate, registers in zip(phase.gates, sums, strict=True):
                at = self._weights_at(tile, gate, k)
                for i in range(tile.vectors):
                    weights = self.read(self.weights, at + i * tile.width, tile.width)
                    registers[i] = multiply_add(element, weights, registers[i], self.spec.computed)

    def _weights_at(self, tile: Tile, gate: int, k: Expr) -> Expr:
        spec = self.spec
        hidden, gates = spec.hidden, spec.gates
        if not spec.packed:
            return (self.direction * hidden + k) * (gates * hidden) + gate * hidden + tile.start
        size = spec.tile(self.lanes)
        tiles = math.ceil(hidden / size)
        row = ((self.direction * tiles + tile.number) * hidden + k) * gates + gate
        return row * size + tile.offset

    # Vectors

    def read(self, buffer: Any, at: Expr, width: int) -> Expr:
        return convert(load(buffer, at, width), self.spec.dtype, self.spec.computed, width)

    def state(self, at: Expr, width: int) -> Expr:
        return load(self.states, at, width)

    def keep(self, at: Expr, value: Expr, width: int) -> None:
        store(self.states, at, value, width)

    def activated(self, step: Step, value: Expr, width: int) -> Expr:
        """Of a gate."""
        if self.spec.clip < math.inf:
            limits = (-self.spec.clip, self.spec.clip)
            value = Numeric(self.spec.computed, width).unary("clip", value, limits)
        return self.applied(step, value, width)

    def applied(self, step: Step, value: Expr, width: int) -> Expr:
        return self.held(Numeric(self.spec.computed, width).unary(step.op, value, step.params), width)

    def held(self, value: Expr, width: int) -> Expr:
        return hold(value, width, self.spec.computed)

    def emit_hidden(self, at: Expr, value: Expr, width: int) -> None:
        """Units from `at` on of the hidden state after this step."""
        value = self.held(value, width)
        self.keep(self.after + at, value, width)
        self.write(self.time, at, value, width)

    def write(self, step: Expr, at: Expr, value: Expr, width: int) -> None:
        spec = self.spec
        row = (step * len(spec.backwards) + self.direction) * spec.batch + self.sequence
        value = convert(value, spec.computed, spec.dtype, width)
        store(self.result, row * spec.hidden + at, value, width)


class Plain(Cell):
    def phases(self) -> tuple[Phase, ...]:
        return (Phase((0,), self.gate, self.before, self._finish),)

    def _finish(self, tile: Tile, sums: Sums) -> None:
        for i in range(tile.vectors):
            value = self.activated(self.spec.activations[0], sums[0][i], tile.width)
            self.emit_hidden(tile.start + i * tile.width, value, tile.width)


class Lstm(Cell):
    """Keeps the cell state."""

    def start(self) -> None:
        super().start()
        self.copy_state(self.rest[0], self.kept(0))

    def phases(self) -> tuple[Phase, ...]:
        return (Phase((0, 1, 2, 3), self.gate, self.before, self._finish),)

    def _finish(self, tile: Tile, sums: Sums) -> None:
        for i in range(tile.vectors):
            self._cell(tile.start + i * tile.width, [s[i] for s in sums], tile.width)

    def _cell(self, at: Expr, sums: Sequence[Expr], width: int) -> None:
        f, g, h = self.spec.activations
        cell_at = self.kept(0) + at
        old = self.held(self.state(cell_at, width), width)
        i = self.activated(f, self._peep(0, at, old, sums[0], width), width)
        forget = self.activated(f, self._peep(2, at, old, sums[2], width), width)
        new = self.held(forget * old + i * self.activated(g, sums[3], width), width)
        self.keep(cell_at, new, width)
        o = self.activated(f, self._peep(1, at, new, sums[1], width), width)
        self.emit_hidden(at, o * self.applied(h, new, width), width)

    def _peep(self, number: int, at: Expr, cell: Expr, value: Expr, width: int) -> Expr:
        if not self.spec.extra:
            return value
        place = (self.direction * 3 + number) * self.spec.hidden + at
        return value + self.read(self.rest[1], place, width) * cell

    def finish(self) -> None:
        if self.spec.last_cell:
            self.each_unit(lambda i, w: self.write(self.spec.steps, i, self.state(self.kept(0) + i, w), w))


class Gru(Cell):
    """Keeps z, and r h where r scales h before its product."""

    def phases(self) -> tuple[Phase, ...]:
        if self.spec.reset_after:
            return (Phase((0, 1, 2), self._at_once_start, self.before, self._at_once),)
        return (
            Phase((0, 1), self.gate, self.before, self._reset),
            Phase((2,), self._candidate_start, self.kept(1), self._candidate),
        )

    def _at_once_start(self, tile: Tile, gate: int, vector: int) -> Expr:
        return self.bias(tile, vector) if gate == 2 else self.gate(tile, gate, vector)

    def _at_once(self, tile: Tile, sums: Sums) -> None:
        for i in range(tile.vectors):
            width = tile.width
            z, r = (self.activated(self.spec.activations[0], s[i], width) for s in sums[:2])
            self._blend(tile, i, z, self.gate(tile, 2, i) + r * sums[2][i])

    def _reset(self, tile: Tile, sums: Sums) -> None:
        width = tile.width
        for i in range(tile.vectors):
            at = tile.start + i * width
            z, r = (self.activated(self.spec.activations[0], s[i], width) for s in sums)
            self.keep(self.kept(0) + at, z, width)
            self.keep(self.kept(1) + at, r * self.state(self.before + at, width), width)

    def _candidate_start(self, tile: Tile, gate: int, vector: int) -> Expr:
        return self.gate(tile, gate, vector) + self.bias(tile, vector)

    def _candidate(self, tile: Tile, sums: Sums) -> None:
        for i in range(tile.vectors):
            at = self.kept(0) + tile.start + i * tile.width
            self._blend(tile, i, self.held(self.state(at, tile.width), tile.width), sums[0][i])

    def _blend(self, tile: Tile, vector: int, z: Expr, candidate: Expr) -> None:
        at, width = tile.start + vector * tile.width, tile.width
        new = self.activated(self.spec.activations[1], candidate, width)
        one = splat(1.0, width, self.spec.computed)
        self.emit_hidden(at, (one - z) * new + z * self.state(self.before + at, width), width)

    def bias(self, tile: Tile, vector: int) -> Expr:
        """Of the candidate's product."""
        if not self.spec.extra:
            return splat(0.0, tile.width, self.spec.computed)
        at = self.direction * self.spec.hidden + tile.start + vector * tile.width
        return self.read(self.rest[0], at, tile.width)


CELLS: dict[str, type[Cell]] = {"lstm": Lstm, "gru": Gru, "rnn": Plain}
