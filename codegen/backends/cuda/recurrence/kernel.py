"""Recurrences by blocks of threads: what a cell makes of sums, whose products many threads share.

A block with all units goes through the steps, and states lie in the memory that its threads share. Where
steps are kernels one after another, the operator's workspace has for each sequence the hidden state before
the first step and after each, then what else the cell keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from ....kernel import Kernel
from ....primitives.dense.recurrence_cells import Cell, Gru, Lstm, Phase, Plain, RecurrenceSpec, Tile
from ....tir import Registers, T, load, prim_func, splat, store, view, when
from ....vector.numeric import convert
from ....vector.shuffles import hold
from ..block import Words, barrier, thread
from ..implicit_gemm_kernel import held
from .schedule import Recurrent, UnitTile

Expr = Any
Buffer = Any
THREADS = 128  # of the kernels before the first step and after the last
_WORDS = 4  # of an access


@dataclass(frozen=True)
class RecurrenceKey:
    """What determines the code."""

    spec: RecurrenceSpec
    work: Recurrent
    tile: UnitTile


def looped_kernel(name: str, key: RecurrenceKey) -> Kernel:
    """(operands) to the result."""
    cell, tile = _LOOPED[key.spec.cell], key.tile
    build = partial(_build, cell, key, (), ("result", key.spec.dtype))
    return Kernel(name, key, build, tile.tasks(key.work), tile.shared_bytes(key.work), threads=tile.threads)


def step_kernels(name: str, key: RecurrenceKey) -> tuple[Kernel, ...]:
    """(operands) to states; of each phase (operands, number of a step) to states; (states) to the result."""
    work, tile = key.work, key.tile
    cell, states = _STEPPED[key.spec.cell], ("states", "float32")
    sequences = work.directions * work.batch
    begun = -(-sequences * tile.row_pitch(work) // THREADS)
    ended = -(-sequences * (work.steps + key.spec.last_cell) * work.hidden // THREADS)
    phases = (
        Kernel(
            f"{name}_{number}", (key, number), partial(_build, partial(cell, phase=number), key,
            (("turn", "int32"),), states), tile.tasks(work), tile.shared_bytes(work), threads=tile.threads,
        )
        for number in range(len(work.phases))
    )  # fmt: skip
    return (
        Kernel(f"{name}_begin", key, partial(_build, _Begin, key, (), states), begun, threads=THREADS),
        *phases,
        Kernel(f"{name}_end", key, partial(_build_end, key), ended, threads=THREADS),
    )


def _build(cell: Any, key: RecurrenceKey, more: tuple[tuple[str, str], ...], last: tuple[str, str]) -> Any:
    names = [(f"x{i}", key.spec.dtype) for i in range(len(key.spec.places))]
    return prim_func([*names, *more, last], cell(key))


class _InBlock(Cell):
    """A step of the units and sequences of a block; comes before a cell among the bases."""

    first_row: Expr

    def __init__(self, key: RecurrenceKey) -> None:
        super().__init__(key.spec, 1)
        self.work, self.tile = key.work, key.tile
        self.stride = self.tile.stride(self.work)

    def open(self, inputs: tuple[Buffer, ...], shared: Buffer) -> None:
        """The operands, and what threads share of sums."""
        self.gates, self.weights, self.hidden, *self.rest = (inputs[p] for p in self.spec.places)
        self.dtype = "float32" if self.work.element_bytes == 4 else "int32"
        self.words, self.shared = view(self.weights, self.dtype), shared
        self.thread = held(thread())
        self.lane = held(T.truncmod(self.thread, self.tile.lanes))
        self.group = held(T.truncdiv(self.thread, self.tile.lanes))

    def state(self, at: Expr, width: int) -> Expr:
        return load(self.states, self.base + at, width)

    def keep(self, at: Expr, value: Expr, width: int) -> None:
        store(self.states, self.base + at, value, width)

    def row_base(self, row: Expr) -> Expr:
        """Where the states of a sequence of the block begin."""
        raise NotImplementedError

    def shares(self, count: int) -> Iterator[Expr]:
        """This thread's of so many numbers."""
        for first in range(0, count, self.tile.threads):
            number = held(self.thread + first)
            with when(True if first + self.tile.threads <= count else number < count):
                yield number

    def run_tile(self, phase: Phase, number: Expr) -> None:
        """The units of a tile: sums by all threads, and what becomes of them by one for each."""
        self._share(self._sums(phase, number), phase)
        barrier()
        for own in self.shares(self.tile.groups * self.tile.rows):
            row, group = held(T.truncdiv(own, self.tile.groups)), held(T.truncmod(own, self.tile.groups))
            unit, sequence = held(number * self.tile.groups + group), held(self.first_row + row)
            with when(T.And(unit < self.work.hidden, sequence < self.work.batch)):
                self.sequence, self.base = sequence, held(self.row_base(row))
                self._unit(phase, unit, own)

    def _unit(self, phase: Phase, unit: Expr, own: Expr) -> None:
        apart, tile, sums = self.tile.groups * self.tile.rows, Tile(unit, 1, 1, 0, 0), []
        for at, gate in enumerate(phase.gates):
            total = Registers(1, 1, "float32")
            total[0] = phase.start(tile, gate, 0) + self.shared[self._totals + at * apart + own]
            sums.append(total)
        phase.finish(tile, sums)

    # Sums of a thread: of a gate those of each row

    def _sums(self, phase: Phase, number: Expr) -> Words:
        gates, chunks = len(phase.gates), self.tile.chunks(self.work)
        sums = Words(gates * self.tile.rows, "float32")
        for at in range(len(sums)):
            sums[at] = splat(0.0, 1)
        first, count = (
            held((self.direction * self.tile.tiles(self.work) + number) * chunks),
            (self.tile.at_once(gates)),
        )
        whole, rest = divmod(chunks, count)
        with T.serial(0, whole) as turn:
            self._add(sums, phase, first, held(turn * count), count)
        if rest:
            self._add(sums, phase, first, T.int32(whole * count), rest)
        return sums

    def _add(self, sums: Words, phase: Phase, first: Expr, chunk: Expr, count: int) -> None:
        """Products of `count` accesses: all loads of weights, then what is done with them."""
        tile, gates = self.tile, phase.gates
        weights = Words(_WORDS * count * len(gates), self.dtype)
        for k in range(count):
            for at, gate in enumerate(gates):
                place = ((first + chunk + k) * self.spec.gates + gate) * tile.threads + self.thread
                weights.fetch(_WORDS * (k * len(gates) + at), self.words, held(place * _WORDS), _WORDS)
        for row in range(tile.rows):
            base = held(self.row_base(row) + phase.state)
            for k in range(count):
                element = ((chunk + k) * tile.lanes + self.lane) * self.work.elements
                state = Words(self.work.elements, "float32")
                state.fetch(0, self.states, held(base + element), self.work.elements)
                for at in range(len(gates)):
                    self._multiply(sums, at * tile.rows + row, weights, _WORDS * (k * len(gates) + at), state)

    def _multiply(self, sums: Words, to: int, weights: Words, first: int, state: Words) -> None:
        for i in range(self.work.elements):
            sums[to] = T.fma(self._weight(weights, first, i), state[i], sums[to])

    def _weight(self, weights: Words, first: int, i: int) -> Expr:
        if self.work.element_bytes == 4:
            return weights[first + i]
        pair = T.reinterpret("float16x2", weights[first + i // 2])
        return T.Shuffle([pair], [i % 2]).astype("float32")

    # In shared memory: states, sums by (sum, group, lane) and then each added up

    @property
    def _parts(self) -> int:
        return self.tile.state_words(self.work)

    @property
    def _totals(self) -> int:
        return self._parts + self.tile.sums(self.work) * self.tile.groups * (self.tile.lanes + 1)

    def _share(self, sums: Words, phase: Phase) -> None:
        tile, pitch = self.tile, self.tile.lanes + 1
        for at in range(len(sums)):
            place = self._parts + (at * tile.groups + self.group) * pitch + self.lane
            store(self.shared, held(place), sums[at], 1)
        barrier()
        for number in self.shares(len(sums) * tile.groups):
            start = held(self._parts + number * pitch)
            total = hold(self.shared[start], 1)
            for lane in range(1, tile.lanes):
                total = hold(total + self.shared[start + lane], 1)
            store(self.shared, self._totals + number, total, 1)


class _Looped(_InBlock):
    """All units of some sequences of a direction, step by step."""

    def __call__(self, *arguments: Any) -> None:
        *inputs, self.result, shared, block, _ = arguments
        self.open(tuple(inputs), shared)
        self.states, rows = shared, self.tile.row_blocks(self.work)
        self.direction = held(T.truncdiv(block, rows))
        self.first_row = held(T.truncmod(block, rows) * self.tile.rows)
        for number in self.shares(self.tile.state_words(self.work)):
            store(self.states, number, splat(0.0, 1), 1)
        barrier()
        self.start()
        barrier()
        with T.serial(0, self.work.steps) as turn:
            self.step(held(turn))
        self.finish()

    def row_base(self, row: Expr) -> Expr:
        return row * self.tile.row_pitch(self.work)

    def run(self, phase: Phase) -> None:
        with T.serial(0, self.tile.tiles(self.work)) as number:
            self.run_tile(phase, number)
        barrier()

    def each_unit(self, body: Callable[[Expr, int], None]) -> None:
        for own in self.shares(self.tile.rows * self.work.hidden):
            row = held(T.truncdiv(own, self.work.hidden))
            sequence = held(self.first_row + row)
            with when(sequence < self.work.batch):
                self.sequence, self.base = sequence, held(self.row_base(row))
                body(held(T.truncmod(own, self.work.hidden)), 1)


class _Stepped(_InBlock):
    """Some units of some sequences of a direction: phase number `phase` of the step that `turn` names."""

    def __init__(self, key: RecurrenceKey, phase: int) -> None:
        super().__init__(key)
        self.number = phase

    def __call__(self, *arguments: Any) -> None:
        *inputs, turn, self.states, shared, block, _ = arguments
        self.open(tuple(inputs), shared)
        rows, tiles = self.tile.row_blocks(self.work), self.tile.tiles(self.work)
        self.first_row = held(T.truncmod(block, rows) * self.tile.rows)
        unit_tile = held(T.truncmod(T.truncdiv(block, rows), tiles))
        self.direction = held(T.truncdiv(block, rows * tiles))
        step = held(turn[0])
        self.time = held(self.time_of(step))
        self.before, self.after = held(step * self.stride), held((step + 1) * self.stride)
        self.run_tile(self.phases()[self.number], unit_tile)

    def row_base(self, row: Expr) -> Expr:
        sequence = T.min(self.first_row + row, self.work.batch - 1)
        return (self.direction * self.work.batch + sequence) * self.tile.row_pitch(self.work)

    def kept(self, number: int) -> int:
        return (self.work.steps + 1 + number) * self.stride

    def write(self, step: Expr, at: Expr, value: Expr, width: int) -> None:
        """The kernel after the last step does."""


class _LoopedLstm(_Looped, Lstm): ...


class _LoopedGru(_Looped, Gru): ...


class _LoopedPlain(_Looped, Plain): ...


class _SteppedLstm(_Stepped, Lstm): ...


class _SteppedGru(_Stepped, Gru): ...


class _SteppedPlain(_Stepped, Plain): ...


_LOOPED = {"lstm": _LoopedLstm, "gru": _LoopedGru, "rnn": _LoopedPlain}
_STEPPED = {"lstm": _SteppedLstm, "gru": _SteppedGru, "rnn": _SteppedPlain}


class _Begin:
    """The workspace before the first step: initial states, and zeros; a thread's is one element."""

    def __init__(self, key: RecurrenceKey) -> None:
        self.spec, self.work, self.tile = key.spec, key.work, key.tile

    def __call__(self, *arguments: Any) -> None:
        *inputs, states, _, block, _ = arguments
        _, _, hidden, *rest = (inputs[p] for p in self.spec.places)
        work, pitch, stride = self.work, self.tile.row_pitch(self.work), self.tile.stride(self.work)
        number = held(block * THREADS + thread())
        with when(number < work.directions * work.batch * pitch):
            sequence, place = held(T.truncdiv(number, pitch)), held(T.truncmod(number, pitch))
            slot, unit = held(T.truncdiv(place, stride)), held(T.truncmod(place, stride))
            store(states, number, splat(0.0, 1), 1)
            sources = {0: hidden} | ({work.steps + 1: rest[0]} if self.spec.cell == "lstm" else {})
            for wanted, source in sources.items():
                with when(T.And(slot == wanted, unit < work.hidden)):
                    value = load(source, sequence * work.hidden + unit, 1)
                    store(states, number, convert(value, self.spec.dtype, "float32", 1), 1)


def _build_end(key: RecurrenceKey) -> Any:
    """An element of the result is a thread's."""
    spec, work, stride, pitch = key.spec, key.work, key.tile.stride(key.work), key.tile.row_pitch(key.work)

    def body(states: Buffer, result: Buffer, _workspace: Buffer, block: Expr, _: Expr) -> None:
        number, sequences = held(block * THREADS + thread()), work.directions * work.batch
        with when(number < sequences * (work.steps + spec.last_cell) * work.hidden):
            unit, row = held(T.truncmod(number, work.hidden)), held(T.truncdiv(number, work.hidden))
            sequence, step = held(T.truncmod(row, sequences)), held(T.truncdiv(row, sequences))
            slot = step + 1
            for direction, backwards in enumerate(spec.backwards):
                if backwards:
                    mirrored = T.And(T.truncdiv(sequence, work.batch) == direction, step < work.steps)
                    slot = T.Select(mirrored, work.steps - step, slot)
            value = load(states, sequence * pitch + held(slot) * stride + unit, 1)
            store(result, number, convert(value, "float32", spec.dtype, 1), 1)

    return prim_func([("states", "float32"), ("result", spec.dtype)], body)
