"""Operands that a register tile reads one after another: a load takes up to four vectors and moves on.

AArch64's `ld1` of several registers adds what it read, or a register, to its address. LLVM makes that of a
load whose address is wanted again just so far on, and not where it sees the addresses of a whole loop: after
every load the address passes through a statement of which it knows nothing. What is called here are functions
in LLVM IR that `stream_functions` writes; they leave no calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..tir import Registers, T, splat
from .shuffles import hold

Expr = Any
Buffer = Any

PREFIX = "secateur_stream_"
PLACE, MOVED, ANEW, ASK, HELD, KEPT, TAKE, PUT, STORE = (
    PREFIX + name for name in ("place", "moved", "anew", "ask", "held", "kept", "take", "put", "store")
)
MOST = 4  # vectors of one load
_SIZES = {"float32": 4, "float16": 2, "int8": 1, "uint8": 1}


class Stream:
    """Vectors of `lanes` elements from an index of a buffer on, or without a buffer from an address on."""

    def __init__(self, buffer: Buffer | None, index: Expr, lanes: int, dtype: str) -> None:
        self._lanes, self._dtype, self._bytes = lanes, dtype, lanes * _SIZES[dtype]
        self._at = Registers(1, 1, "int64")
        self._at[0] = index if buffer is None else _place(buffer, index)

    def take(self, vectors: int, on: Expr = None) -> list[Expr]:
        """The next `vectors`. `on` is a `distance` from where the last load begins to what is taken next."""
        found: list[Expr] = []
        while len(found) < vectors:
            count = min(MOST, vectors - len(found))
            found += self._load(count, on if len(found) + count == vectors else None)
        return found

    def put(self, values: Sequence[Expr]) -> None:
        """Stores up to four vectors together, and moves on behind them."""
        at = self._at[0]
        T.evaluate(T.call_extern("void", f"{STORE}{len(values)}_{self._dtype}", at, *values))
        self._at[0] = T.call_extern("int64", MOVED, at + T.int64(len(values) * self._bytes))

    def skip(self, beyond: Expr) -> None:
        """Moves on by so many bytes, an int64."""
        self._at[0] = T.call_extern("int64", MOVED, self._at[0] + beyond)

    def anew(self, vectors: int) -> list[Expr]:
        """The next `vectors`, which stay the next: loads of two each time, where LLVM would copy."""
        self._at[0] = T.call_extern("int64", ANEW, self._at[0])
        at, name = self._at[0], f"{TAKE}1_{self._dtype}"
        kind = f"{self._dtype}x{self._lanes}"
        places = [at + T.int64(v * self._bytes) for v in range(vectors)]
        return [hold(T.call_extern(kind, name, place), self._lanes, self._dtype) for place in places]

    def ask(self, beyond: int | Expr, level: int) -> None:
        """For the cache line that lies so many bytes on, in cache level 1 or 2."""
        far = T.int64(beyond) if isinstance(beyond, int) else beyond
        T.evaluate(T.call_extern("void", f"{ASK}{level}", self._at[0] + far))

    def _load(self, count: int, on: Expr) -> list[Expr]:
        at, elements, size = self._at[0], count * self._lanes, count * self._bytes
        kind = f"{self._dtype}x{elements}"
        loaded = hold(T.call_extern(kind, f"{TAKE}{count}_{self._dtype}", at), elements, self._dtype)
        self._at[0] = T.call_extern("int64", MOVED, at + (T.int64(size) if on is None else on))
        starts = range(0, elements, self._lanes)
        return [T.Shuffle([loaded], [*range(first, first + self._lanes)]) for first in starts]


_NEAR = 65520  # bytes that an access of 16 reaches beyond a register


class Distances:
    """From row to row and to each column of tables, in bytes, in registers for all tables that follow."""

    def __init__(self, rows: int, columns: Sequence[int]) -> None:
        self.rows = distance(rows)
        self.columns = [T.int64(column) if column <= _NEAR else distance(column) for column in columns]


class Table:
    """Vectors of `lanes` elements at so many rows of places, from an index of a buffer on."""

    def __init__(
        self, place: tuple[Buffer, Expr], lanes: int, dtype: str, rows: int, distances: Distances
    ) -> None:
        self._lanes, self._dtype, self._columns = lanes, dtype, distances.columns
        self._rows = [address(*place)]
        for _ in range(1, rows):
            self._rows.append(_register(self._rows[-1] + distances.rows))

    def load(self, i: int, j: int) -> Expr:
        name, kind = f"{TAKE}1_{self._dtype}", f"{self._dtype}x{self._lanes}"
        return T.call_extern(kind, name, self._rows[i] + self._columns[j])

    def store(self, i: int, j: int, value: Expr) -> None:
        put(self._rows[i] + self._columns[j], value, self._lanes, self._dtype)


def address(buffer: Buffer, index: Expr) -> Expr:
    """Of an element, an int64 of which LLVM knows nothing: others are an addition away."""
    return _register(_place(buffer, index))


def moved(place: Expr, number: Expr, each: int) -> Expr:
    """The address `number` times so many bytes on, from which short offsets count."""
    times = T.int64(number) if isinstance(number, int) else number.astype("int64")
    return _register(place + times * T.int64(each))


def put(place: Expr, value: Expr, lanes: int, dtype: str) -> None:
    """Stores a vector at an address."""
    T.evaluate(T.call_extern("void", f"{PUT}_{dtype}x{lanes}", place, value))


def last_load(vectors: int) -> int:
    """Vectors of the last of the loads that take so many."""
    return (vectors - 1) % MOST + 1


def loads_of(vectors: int) -> int:
    """Instructions that take so many vectors; one that is loaded alone moves no address by a register."""
    return -(-vectors // MOST) + (last_load(vectors) == 1)


def distance(bytes_on: int) -> Expr:
    """An int64 in a register, of which LLVM knows nothing: an address can be moved by it for nothing."""
    return _register(T.int64(bytes_on))


def _register(value: Expr) -> Expr:
    register = Registers(1, 1, "int64")
    register[0] = T.call_extern("int64", MOVED, value)
    return register[0]


def _place(buffer: Buffer, index: Expr) -> Expr:
    return T.call_extern("int64", PLACE, T.address_of(buffer[index]))


def held(sums: Registers, numbers: Iterable[int] | None = None) -> None:
    """Completes sums before what follows is loaded: LLVM would load a loop's operands first, and spill.

    All, or those of some `numbers`.
    """
    for number in range(sums.count) if numbers is None else numbers:
        kind = f"{sums.dtype}x{sums.lanes}"
        sums[number] = T.call_extern(kind, f"{HELD}_{sums.dtype}", sums[number])


def add_from(place: tuple[Buffer, Expr], sums: Registers) -> None:
    """Adds numbers of a buffer, from an index on, to sums."""
    earlier = Stream(*place, sums.lanes, sums.dtype)
    for some in _loads(sums.count):
        for number, value in zip(some, earlier.take(len(some)), strict=True):
            sums[number] = sums[number] + value
        held(sums, some)


def put_all(place: tuple[Buffer, Expr], sums: Registers) -> None:
    """Stores sums in a buffer, from an index on."""
    stream = Stream(*place, sums.lanes, sums.dtype)
    for some in _loads(sums.count):
        stream.put([sums[number] for number in some])


def _loads(vectors: int) -> list[range]:
    return [range(first, min(first + MOST, vectors)) for first in range(0, vectors, MOST)]


def kept(values: Sequence[float], dtype: str = "float32") -> list[Expr]:
    """Each of as many floats as a vector has lanes, for all of these.

    They are elements of one register that LLVM does not take for constants: instructions by element read it.
    """
    register = Registers(1, len(values), dtype)
    literals = T.Shuffle([splat(v, 1, dtype) for v in values], list(range(len(values))))
    register[0] = T.call_extern(f"{dtype}x{len(values)}", f"{KEPT}_{dtype}", literals)
    return [T.Broadcast(T.Shuffle([register[0]], [k]), len(values)) for k in range(len(values))]


def whole(vector: Expr, lanes: int, dtype: str) -> Expr:
    """The same register, loaded at once: LLVM would load in parts, without elements that nothing reads."""
    kind = f"{dtype}x{lanes}"
    return hold(T.call_extern(kind, f"{KEPT}_{kind}", vector), lanes, dtype)
