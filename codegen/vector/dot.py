"""The step of every 8-bit kernel: four unsigned bytes times four signed bytes, summed into each int32 lane.

One object for each instruction set. A quad is four input channels of one pixel;
the vector of weights holds the matching four bytes of each of `lanes` filters.
What `element` and `weights` prepare serves a whole register tile.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..targets.isa import DotKind
from ..targets.target import Target
from ..tir import T, load, splat
from .shuffles import hold

Expr = Any
Buffer = Any
Bytes = NDArray[np.int8]
Prepared = tuple[Expr, ...]

QUAD = 4  # bytes of one lane's product


@dataclass(frozen=True)
class Dot(ABC):
    """acc (int32 x `lanes`) += the dot product of one u8 quad with the i8 quad of every lane, exactly."""

    lanes: int
    intrinsic: str = ""
    rate: float | None = None  # vector operations a cycle, where it is not that of float32 multiply-adds

    weight_registers = 1  # of one prepared vector of weights
    element_registers = 1
    operations = 1.0  # vector operations of one `accumulate`
    multiplies = 1  # instructions among them that multiply
    preparation = 0.0  # of one prepared vector, besides its load

    @property
    def bytes(self) -> int:
        """Bytes of one vector of weights."""
        return QUAD * self.lanes

    @abstractmethod
    def element(self, buffer: Buffer, index: Expr) -> Prepared:
        """The quad at byte `index` of a u8 buffer, for every lane."""

    @abstractmethod
    def weights(self, buffer: Buffer, index: Expr) -> Prepared:
        """The vector of packed weights at byte `index` of an i8 buffer."""

    @abstractmethod
    def accumulate(self, acc: Any, at: int, element: Prepared, weights: Prepared) -> None:
        """acc[at] += element . weights; `acc` are int32 `Registers` of `lanes`."""

    def pack(self, quads: Bytes) -> Bytes:
        """i8 of shape (..., lanes, 4) as `weights` reads them: (..., 4 * lanes)."""
        return np.ascontiguousarray(quads.reshape(*quads.shape[:-2], self.bytes))


def dot_of(target: Target) -> Dot:
    """The fastest step that the target's features allow."""
    step = target.isa.dot
    return _STEPS[step.kind](target.lanes, step.intrinsic, step.rate)


class Vnni(Dot):
    """One instruction, as AVX512-VNNI has."""

    def element(self, buffer: Buffer, index: Expr) -> Prepared:
        return (_held(_quad(buffer, index, self.lanes), self.bytes, "int8"),)

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
        words = self._words(_quad(buffer, index, self.lanes))
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
}  # fmt: skip


def _quad(buffer: Buffer, index: Expr, lanes: int) -> Expr:
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
