"""The step of every 8-bit kernel: four unsigned bytes times four signed bytes, summed into each int32 lane.

One object for each instruction set. A quad is four input channels of one pixel;
the vector of weights holds the matching four bytes of each of `lanes` filters.
What `element` and `weights` prepare serves a whole register tile.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..targets.isa import DotKind
from ..targets.target import Target
from ..tir import Registers, T, load, pinned, splat
from .shuffles import hold

Expr = Any
Buffer = Any
Bytes = NDArray[np.int8]
Prepared = tuple[Any, ...]

QUAD = 4  # bytes of one lane's product


@dataclass(frozen=True)
class Dot(ABC):
    """acc (int32 x `lanes`) += the dot product of one u8 quad with the i8 quad of every lane, exactly."""

    lanes: int
    intrinsic: str = ""
    rate: float | None = None  # vector operations a cycle, where it is not that of float32 multiply-adds
    quads: int = 1  # of a pixel that `elements` prepares best
    offset: int = 0  # what `elements` takes from the bytes: sums are of (data - offset) . weights
    pairs: str = ""

    depth = 1  # quads of channels of a step
    weight_registers = 1  # of one prepared vector of weights
    element_registers = 1
    spare_registers = 3  # of a register tile, besides sums and `elements` of every pixel: 2 weights, a mask
    operations = 1.0  # vector operations of one `accumulate`
    multiplies = 1  # instructions among them that multiply
    preparation = 0.0  # of a pixel's element, besides its load
    prepares_weights = True  # whether a vector of weights takes as much
    sums_anew = False  # whether the first products need no sums to be added to

    @property
    def bytes(self) -> int:
        """Bytes of one vector of weights."""
        return QUAD * self.lanes

    @abstractmethod
    def element(self, buffer: Buffer, index: Expr) -> Prepared:
        """The quad at byte `index` of a u8 buffer, for every lane."""

    def begun(self, element: Prepared) -> Prepared:
        """What `accumulate` takes in a row of calls, none of which is done before earlier ones."""
        return element

    def elements(self, buffer: Buffer, index: Expr, count: int) -> list[Prepared]:
        """`count` quads from byte `index` on."""
        return [self.element(buffer, index + QUAD * k) for k in range(count)]

    @abstractmethod
    def weights(self, buffer: Buffer, index: Expr) -> Prepared:
        """The vector of packed weights at byte `index` of an i8 buffer."""

    @abstractmethod
    def accumulate(self, acc: Any, at: int, element: Prepared, weights: Prepared) -> None:
        """acc[at] += element . weights; `acc` are int32 `Registers` of `lanes`."""

    def accumulate_all(self, acc: Any, first: int, element: Prepared, weights: Sequence[Prepared]) -> None:
        """acc[first + v] += element . weights[v]."""
        for v, one in enumerate(weights):
            self.accumulate(acc, first + v, element, one)

    def of_centred(self) -> Self:
        """For data whose bytes hold what is left of them when `offset` is taken."""
        return replace(self, offset=0)

    def pack(self, quads: Bytes) -> Bytes:
        """i8 of shape (..., lanes, 4) as `weights` reads them: (..., 4 * lanes)."""
        return np.ascontiguousarray(quads.reshape(*quads.shape[:-2], self.bytes))


def is_full(weights: Bytes) -> bool:
    """Whether some are -128."""
    return bool(weights.size) and int(weights.min()) == -128


def dot_of(target: Target, *, full: bool = False) -> Dot:
    """The fastest step that the target's features allow; `full` weights may be -128."""
    step = target.isa.dot
    if full and step.full:
        step = step.full
    rate = target.rates.dot_per_cycle or step.rate
    return _STEPS[step.kind](target.lanes, step.intrinsic, rate, step.quads, step.offset, step.pairs)


def products(target: Target) -> float:
    """Multiply-adds of bytes a cycle, at most."""
    dot = dot_of(target)
    return QUAD * dot.lanes / dot.operations * (dot.rate or target.fma_per_cycle)


class Vnni(Dot):
    """One instruction, as AVX512-VNNI has."""

    def element(self, buffer: Buffer, index: Expr) -> Prepared:
        return (_held(quad(buffer, index, self.lanes), self.bytes, "int8"),)

    def weights(self, buffer: Buffer, index: Expr) -> Prepared:
        return (_held(load(buffer, index, self.bytes), self.bytes, "int8"),)

    def accumulate(self, acc: Any, at: int, element: Prepared, weights: Prepared) -> None:
        acc[at] = _call(self.intrinsic, f"int32x{self.lanes}", acc[at], element[0], weights[0])


class Pairs(Dot):
    """x86 without VNNI: even and odd bytes as int16, multiplied and added in pairs.

    `vpmaddubsw` would be shorter, but saturates: 2 * 255 * 127 leaves int16.
    """

    weight_registers = 2
    element_registers = 2
    operations = 4.0
    multiplies = 2
    preparation = 3.0

    def element(self, buffer: Buffer, index: Expr) -> Prepared:
        words = self._words(quad(buffer, index, self.lanes))
        low, byte = (self._splat(v) for v in (0x00FF, 8))
        return self._hold(words & low), self._hold(_logical_shift(words, byte, 2 * self.lanes))

    def weights(self, buffer: Buffer, index: Expr) -> Prepared:
        words, byte = self._words(load(buffer, index, self.bytes)), self._splat(8)
        return self._hold((words << byte) >> byte), self._hold(words >> byte)

    def accumulate(self, acc: Any, at: int, element: Prepared, weights: Prepared) -> None:
        for pair in zip(element, weights, strict=True):
            acc[at] = acc[at] + _call(self.intrinsic, f"int32x{self.lanes}", *pair)

    def _words(self, value: Expr) -> Expr:
        return self._hold(T.reinterpret(f"int16x{2 * self.lanes}", value))

    def _splat(self, value: int) -> Expr:
        return splat(value, 2 * self.lanes, "int16")

    def _hold(self, value: Expr) -> Expr:
        return _held(value, 2 * self.lanes, "int16")


class Widening(Dot):
    """int16 products into int32 lanes, byte by byte of the quad: `smlal` by element on ARM.

    Packed weights lie as [byte of the quad][lane]. Without `intrinsic`, plain multiplications.
    """

    weight_registers = 2
    operations = 4.0
    multiplies = 4
    preparation = 1.0

    def element(self, buffer: Buffer, index: Expr) -> Prepared:
        words = load(buffer, index, QUAD).astype("uint16x4")
        return (_held(T.reinterpret("int16x4", words), QUAD, "int16"),)

    def weights(self, buffer: Buffer, index: Expr) -> Prepared:
        half, halves = 2 * self.lanes, (range(self.lanes), range(self.lanes, 2 * self.lanes))
        loads = (load(buffer, index + at, half) for at in (0, half))
        words = [_held(v.astype(f"int16x{half}"), half, "int16") for v in loads]
        return tuple(_held(T.Shuffle([w], list(h)), self.lanes, "int16") for w in words for h in halves)

    def accumulate(self, acc: Any, at: int, element: Prepared, weights: Prepared) -> None:
        for k, row in enumerate(weights):
            acc[at] = acc[at] + self._product(splat(T.Shuffle([element[0]], [k]), self.lanes), row)

    def _product(self, a: Expr, b: Expr) -> Expr:
        kind = f"int32x{self.lanes}"
        if self.intrinsic:
            return _call(f"{self.intrinsic}.v{self.lanes}i32", kind, a, b)
        return a.astype(kind) * b.astype(kind)

    def pack(self, quads: Bytes) -> Bytes:
        return super().pack(np.swapaxes(quads, -1, -2))


class Signed(Dot):
    """On signed bytes, of which those of several quads are loaded and made signed together."""

    def element(self, buffer: Buffer, index: Expr) -> Prepared:
        return self.elements(buffer, index, 1)[0]

    def elements(self, buffer: Buffer, index: Expr, count: int) -> list[Prepared]:
        return self.taken(load(buffer, index, QUAD * count), count)

    @abstractmethod
    def taken(self, data: Expr, count: int) -> list[Prepared]:
        """The `count` quads of bytes that have been loaded."""

    def _quads(self, data: Expr, count: int) -> Expr:
        """int32 x `count`, of signed bytes."""
        width = QUAD * count
        value = T.reinterpret(f"int8x{width}", data)
        signed = value ^ splat(-self.offset, width, "int8") if self.offset else value  # another sign bit
        return _held(T.reinterpret(f"int32x{count}" if count > 1 else "int32", signed), count, "int32")

    def weights(self, buffer: Buffer, index: Expr) -> Prepared:
        return (_held(load(buffer, index, self.bytes), self.bytes, "int8"),)


class Halves(Signed):
    """int16 products of bytes, two of which are summed, then pairs of these: `smull`, `smlal2` and `sadalp`.

    Two products fit: 2 * 128 * 127, as weights are at least -127. Packed weights lie as
    [pair of bytes of the quad][lane][byte of the pair].
    """

    operations = 3.0
    multiplies = 2
    preparation = 0.5
    sums_anew = True
    spare_registers = 12  # 4 weights, 2 products, 4 tables, an element, a mask

    def taken(self, data: Expr, count: int) -> list[Prepared]:
        """(a register of quads, which of them) each."""
        quads, lanes = Registers(1, self.lanes, "int32"), self.lanes
        value = self._quads(data, count)
        quads[0] = (
            splat(value, lanes)
            if count == 1
            else T.Shuffle([value, value], [k % count for k in range(lanes)])
        )
        return [(quads, k) for k in range(count)]

    def begun(self, element: Prepared) -> Prepared:
        """Each pair of bytes `lanes` times over."""
        quads, k = element
        quads[0] = pinned(quads[0])
        pairs = T.reinterpret(f"int16x{2 * self.lanes}", quads[0])
        repeated = [k * 2 + half for half in (0, 1) for _ in range(self.lanes)]
        spread = T.Shuffle([pairs], repeated)
        return (_held(T.reinterpret(f"int8x{self.bytes}", spread), self.bytes, "int8"),)

    def accumulate(self, acc: Any, at: int, element: Prepared, weights: Prepared) -> None:
        half = self.bytes // 2
        total = self._products(element, weights, 0) + self._products(element, weights, half)
        acc[at] = pinned(acc[at] + self._pairs(total))

    def _pairs(self, total: Expr) -> Expr:
        """Of int16, added up."""
        return _call(f"{self.pairs}.v{self.lanes}i32.v{self.bytes // 2}i16", f"int32x{self.lanes}", total)

    def _products(self, element: Prepared, weights: Prepared, first: int) -> Expr:
        """Of half of the bytes."""
        half = self.bytes // 2
        operands = (T.Shuffle([v[0]], list(range(first, first + half))) for v in (element, weights))
        return _call(f"{self.intrinsic}.v{half}i16", f"int16x{half}", *operands)

    def pack(self, quads: Bytes) -> Bytes:
        pairs = quads.reshape(*quads.shape[:-1], 2, 2)
        return super().pack(np.swapaxes(pairs, -2, -3).reshape(quads.shape))


class ShortHalves(Halves):
    """The same by registers of 64 bits, as ARMv7 has: one for each pair of bytes.

    Of one register with both LLVM would take each lane through a core register.
    """

    def begun(self, element: Prepared) -> Prepared:
        """One pair of bytes `lanes` times over, and the other."""
        quads, k = element
        quads[0] = pinned(quads[0])
        pairs, half = T.reinterpret(f"int16x{2 * self.lanes}", quads[0]), self.bytes // 2
        spread = (T.Shuffle([pairs], [2 * k + number] * self.lanes) for number in (0, 1))
        return tuple(_held(T.reinterpret(f"int8x{half}", one), half, "int8") for one in spread)

    def accumulate(self, acc: Any, at: int, element: Prepared, weights: Prepared) -> None:
        self.accumulate_all(acc, at, element, [weights])

    def accumulate_all(self, acc: Any, first: int, element: Prepared, weights: Sequence[Prepared]) -> None:
        """A product of each, then the next of each: the A7 starts in order, and waits for the one before."""
        half, lanes, count = self.bytes // 2, self.lanes, len(weights)
        totals = Registers(count, half, "int16")
        totals.fill(0)
        for number, pairs in enumerate(element):
            places = [*range(number * half, (number + 1) * half)]
            for v, one in enumerate(weights):
                product = _call(
                    f"{self.intrinsic}.v{half}i16", f"int16x{half}", pairs, T.Shuffle([one[0]], places)
                )
                totals[v] = totals[v] + product
        name = f"{self.pairs}.v{lanes}i32.v{half}i16"
        for v in range(count):
            acc[first + v] = pinned(_call(name, f"int32x{lanes}", acc[first + v], totals[v]))


class Lanes(Signed):
    """One instruction that takes a quad of a vector of four, as `sdot` by element on ARM."""

    prepares_weights = False

    @property
    def preparation(self) -> float:  # type: ignore[override]
        """One instruction gives four quads another sign bit."""
        return 1 / QUAD if self.offset else 0.0

    def taken(self, data: Expr, count: int) -> list[Prepared]:
        quads = self._quads(data, count)
        each = [quads] if count == 1 else [T.Shuffle([quads], [k]) for k in range(count)]
        return [(T.reinterpret(f"int8x{self.bytes}", splat(one, self.lanes)),) for one in each]

    def accumulate(self, acc: Any, at: int, element: Prepared, weights: Prepared) -> None:
        acc[at] = self._product(acc[at], element[0], weights[0])

    def _product(self, total: Expr, element: Expr, weights: Expr) -> Expr:
        return self._called(total, weights, element)

    def _called(self, *operands: Expr) -> Expr:
        name = f"{self.intrinsic}.v{self.lanes}i32.v{self.bytes}i8"
        return _call(name, f"int32x{self.lanes}", *operands)


class MixedLanes(Lanes):
    """Of unsigned bytes times signed ones: `usdot`, or `sudot` by element."""

    def _product(self, total: Expr, element: Expr, weights: Expr) -> Expr:
        return self._called(total, element, weights)


class Scalar(Dot):
    """One instruction for each lane, as GPUs have (`dp4a`)."""

    def element(self, buffer: Buffer, index: Expr) -> Prepared:
        return (_held(T.reinterpret("int32", load(buffer, index, QUAD)), 1, "int32"),)

    def weights(self, buffer: Buffer, index: Expr) -> Prepared:
        quads = T.reinterpret(f"int32x{self.lanes}", load(buffer, index, self.bytes))
        return (_held(quads, self.lanes, "int32"),)

    def accumulate(self, acc: Any, at: int, element: Prepared, weights: Prepared) -> None:
        lanes = range(self.lanes)
        sums = [
            _call(self.intrinsic, "int32", element[0], *(T.Shuffle([v], [i]) for v in (weights[0], acc[at])))
            for i in lanes
        ]
        acc[at] = T.Shuffle(sums, list(lanes))


_STEPS: dict[DotKind, type[Dot]] = {
    DotKind.QUADS: Vnni, DotKind.PAIRS: Pairs, DotKind.WIDENING: Widening, DotKind.SCALAR: Scalar,
    DotKind.HALVES: Halves, DotKind.SHORT_HALVES: ShortHalves, DotKind.LANES: Lanes,
    DotKind.MIXED_LANES: MixedLanes,
}  # fmt: skip


def quad(buffer: Buffer, index: Expr, lanes: int) -> Expr:
    """Four bytes, `lanes` times over, as int8; one broadcast of a 32-bit load."""
    return T.reinterpret(
        f"int8x{QUAD * lanes}", splat(T.reinterpret("int32", load(buffer, index, QUAD)), lanes)
    )


def _logical_shift(words: Expr, by: Expr, lanes: int) -> Expr:
    unsigned = T.reinterpret(f"uint16x{lanes}", words) >> T.reinterpret(f"uint16x{lanes}", by)
    return T.reinterpret(f"int16x{lanes}", unsigned)


def _call(intrinsic: str, dtype: str, *arguments: Expr) -> Expr:
    return T.call_llvm_pure_intrin(dtype, intrinsic, *arguments)


def _held(value: Expr, lanes: int, dtype: str) -> Expr:
    return hold(value, lanes, dtype)
