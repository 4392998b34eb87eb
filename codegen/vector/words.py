"""The step of kernels on 16-bit operands: int16 times int16 of some channels, summed into int32 lanes.

Sums wrap: they are right modulo 2^32, whatever passes through them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..targets.isa import DotKind
from ..targets.target import Target
from ..tir import T, load, pinned, splat
from .shuffles import hold
from .streams import whole

Expr = Any
Buffer = Any
Words = NDArray[np.int16]
Prepared = tuple[Expr, ...]


@dataclass(frozen=True)
class WordStep(ABC):
    """acc (int32 x `lanes`) += the products of `channels` int16 of one pixel with those of every lane."""

    lanes: int
    intrinsic: str
    rate: float | None = None  # vector operations a cycle, where it is not that of float32 multiply-adds
    at_once: int = 1  # steps whose elements are loaded together where they lie side by side

    channels = 2  # of a step
    weight_registers = 1  # of one prepared vector of weights
    operations = 2.0  # vector operations of one `accumulate`
    multiplies = 1  # instructions among them that multiply

    @property
    def words(self) -> int:
        """Elements of one vector of weights."""
        return self.channels * self.lanes

    @abstractmethod
    def element(self, buffer: Buffer, index: Expr) -> Prepared:
        """The channels at element `index` of an int16 buffer, for every lane."""

    def elements(self, buffer: Buffer, index: Expr, steps: int) -> list[Prepared]:
        """Those of `steps` steps from element `index` on."""
        return [self.element(buffer, index + k * self.channels) for k in range(steps)]

    @abstractmethod
    def weights(self, buffer: Buffer, index: Expr) -> Prepared:
        """The vector of packed weights at element `index` of an int16 buffer."""

    def vectors(self, buffer: Buffer, index: Expr, count: int) -> list[Prepared]:
        """`count` vectors of packed weights, which lie side by side."""
        return [self.weights(buffer, index + v * self.words) for v in range(count)]

    @abstractmethod
    def accumulate(self, acc: Any, at: int, element: Prepared, weights: Prepared) -> None:
        """acc[at] += element . weights; `acc` are int32 `Registers` of `lanes`."""

    @abstractmethod
    def pack(self, words: Words) -> Words:
        """int16 of shape (..., lanes, channels) as `weights` reads them: (..., words)."""


class Pairs(WordStep):
    """x86: one instruction multiplies two pairs a lane and adds them, exactly."""

    def element(self, buffer: Buffer, index: Expr) -> Prepared:
        pair = T.reinterpret("int32", load(buffer, index, 2))
        return (hold(T.reinterpret(f"int16x{self.words}", splat(pair, self.lanes)), self.words, "int16"),)

    def weights(self, buffer: Buffer, index: Expr) -> Prepared:
        return (hold(load(buffer, index, self.words), self.words, "int16"),)

    def accumulate(self, acc: Any, at: int, element: Prepared, weights: Prepared) -> None:
        kind = f"int32x{self.lanes}"
        acc[at] = acc[at] + T.call_llvm_pure_intrin(kind, self.intrinsic, element[0], weights[0])

    def pack(self, words: Words) -> Words:
        return np.ascontiguousarray(words.reshape(*words.shape[:-2], self.words))


@dataclass(frozen=True)
class Widening(WordStep):
    """ARM: `smlal` by element. Packed weights lie as [channel][lane], of the `first` channels of a step."""

    first: int = 4

    channels = 4

    @property
    def words(self) -> int:
        return self.first * self.lanes

    @property
    def weight_registers(self) -> int:  # type: ignore[override]
        return -(-self.first // 2)

    @property
    def operations(self) -> float:  # type: ignore[override]
        return float(self.first)

    @property
    def multiplies(self) -> int:  # type: ignore[override]
        return self.first

    def element(self, buffer: Buffer, index: Expr) -> Prepared:
        return self.elements(buffer, index, 1)[0]

    def elements(self, buffer: Buffer, index: Expr, steps: int) -> list[Prepared]:
        """(a vector, the place of the first of its channels) each."""
        count = steps * self.channels
        loaded = hold(load(buffer, index, count), count, "int16")
        if self.first < self.channels:
            loaded = whole(loaded, count, "int16")
        return [(loaded, k) for k in range(0, count, self.channels)]

    def weights(self, buffer: Buffer, index: Expr) -> Prepared:
        return tuple(self._rows(buffer, index, self.first))

    def vectors(self, buffer: Buffer, index: Expr, count: int) -> list[Prepared]:
        rows = self._rows(buffer, index, count * self.first)
        return [tuple(rows[k : k + self.first]) for k in range(0, len(rows), self.first)]

    def _rows(self, buffer: Buffer, index: Expr, count: int) -> list[Expr]:
        """`count` channels' weights, of which a load takes two."""
        wide, rows = 2 * self.lanes, list[Expr]()
        for k in range(0, count - 1, 2):
            loaded = hold(load(buffer, index + k * self.lanes, wide), wide, "int16")
            halves = (list(range(self.lanes)), list(range(self.lanes, wide)))
            rows += [hold(T.Shuffle([loaded], half), self.lanes, "int16") for half in halves]
        if count % 2:
            last = load(buffer, index + (count - 1) * self.lanes, self.lanes)
            rows.append(hold(last, self.lanes, "int16"))
        return rows

    def accumulate(self, acc: Any, at: int, element: Prepared, weights: Prepared) -> None:
        kind, name = f"int32x{self.lanes}", f"{self.intrinsic}.v{self.lanes}i32"
        for k, row in enumerate(weights, element[1]):
            value = splat(T.Shuffle([element[0]], [k]), self.lanes)
            acc[at] = acc[at] + T.call_llvm_pure_intrin(kind, name, value, row)
        if self.at_once > 1:
            acc[at] = pinned(acc[at])

    def pack(self, words: Words) -> Words:
        turned = np.swapaxes(words[..., : self.first], -1, -2)
        return np.ascontiguousarray(turned.reshape(*turned.shape[:-2], self.words))


_STEPS: dict[DotKind, type[WordStep]] = {DotKind.PAIRS: Pairs, DotKind.WIDENING: Widening}


def word_step(target: Target, first: int = 4) -> WordStep | None:
    """That of the target, None where its row names none; for data of which only the `first` of every four
    channels are any."""
    step = target.isa.words
    if step is None:
        return None
    found = _STEPS[step.kind](target.lanes, step.intrinsic, step.rate, step.quads)
    return replace(found, first=first) if isinstance(found, Widening) else found
