"""Winograd convolutions on bytes whose results are words: the steps of `ir/reference/words.py`, to the bit.

Products of a few filters become words as they are stored. Those of several such vectors lie side by side, so
that twice as many filters as floats go through the output transform at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from secateur.codegen.tir import T, load, splat, store
from secateur.codegen.vector.requantize import BLOCK
from secateur.codegen.vector.saturating import Saturating
from secateur.codegen.vector.shuffles import hold
from secateur.ir.graph import Operator
from secateur.ir.ops.linear import one_quant
from secateur.ir.reference.words import RESIDUAL, endings, residual_factor, word_bias

from ....rounding import up
from ..int8_spec import LinearSpec
from .arithmetic import Buffers, ByteArithmetic, Steps, SumEnding
from .steps import ROOT_FACTOR

Expr = Any
Array = Any

_RESIDUAL_BITS = 7  # of a fraction that a residual's steps have
_LOW, _HIGH, _ZERO, _FACTORS = range(4)
BITS = (2, 3, 4)
"""Of a fraction that sums of pixels have: a bias for each."""


@dataclass(frozen=True)
class WordArithmetic(ByteArithmetic):
    """`tile` is of the result; sums are shifted by `shift`; those down a column must be `limited`, too."""

    tile: tuple[int, int]
    shift: int
    limited: bool
    words: Saturating

    sums = "int16"
    gap = 8

    @property
    def result_lanes(self) -> int:
        return self.words.lanes

    def pointers(self, spec: Any) -> list[str | tuple[str, str]]:
        residual = [("residual", "uint8")] if spec.ending.residual else []
        constants = [("weights", "int8"), ("start", "int32"), ("scales", "int16"), ("factors", "int16")]
        ending = [("bias", "int16"), ("parameters", "int16"), ("output", "uint8")]
        return [("data", "uint8"), *residual, *constants, *ending]

    def ending(self, spec: Any, buffers: Buffers) -> Any:
        names = ("residual", "bias", "multipliers", "parameters", "output")
        return WordEnding(spec, tuple(map(buffers.get, names)), self.words)

    def ended(self, acc: Any, vectors: int, buffers: Buffers, at: Expr) -> Iterator[tuple[int, Expr]]:
        """f."""
        lanes = self.ended_lanes(vectors)
        together = lanes // self.lanes
        for v in range(0, vectors, together):
            factor = hold(load(buffers["scales"], at + v * self.lanes, lanes), lanes, "int16")
            for number in range(v, acc.count, vectors):
                sums = [acc[number + k] for k in range(together)]
                yield number, self.words.of_sums(sums, self.lanes, self.shift, factor)

    def ended_lanes(self, vectors: int) -> int:
        return self.words.lanes if vectors * self.lanes % self.words.lanes == 0 else self.lanes

    def output_steps(self, values: Sequence[Expr]) -> list[Expr]:
        return _limited_steps(self.words, values) if self.limited else _steps(self.words, values)

    def kept_output_steps(self, extent: tuple[int, int]) -> Steps:
        return self.output_steps

    def row_steps(self, columns: Steps) -> Steps:
        return partial(_limited_steps, self.words)

    def settled(self, value: Expr, row: int, column: int) -> Expr:
        if not endings(self.tile)[row][column].root:
            return value
        return self.words.product(value, self.words.splat(ROOT_FACTOR))

    def finished(self, value: Expr, bias: Any, row: int, column: int) -> Total:
        bits = endings(self.tile)[row][column].bits
        return Total(self.words.add(value, bias[BITS.index(bits)]), bits)


class Total(NamedTuple):
    """A pixel's words, and how many of their bits are of a fraction."""

    words: Expr
    bits: int


class WordEnding(SumEnding):
    """Of results that are bytes; parameters are those of `packed_parameters`."""

    def __init__(self, spec: LinearSpec, buffers: tuple[Any, ...], words: Saturating) -> None:
        super().__init__(spec, words.lanes, buffers)
        self.words, self.residual, self.parameters = words, buffers[0], buffers[3]

    def start(self, channel: Expr, rows: Any, taps: Any) -> list[Expr]:
        """A bias for each number of bits."""
        apart = up(self.spec.filters, BLOCK)
        loads = [load(self.starts, k * apart + channel, self.lanes) for k in range(len(BITS))]
        return [self.words.hold(value) for value in loads]

    def store(self, total: Any, image: Expr, pixel: Expr, channel: Expr) -> None:
        """A `Total`."""
        at, residual = self._places(image, pixel, channel)
        words = total.words
        if self.spec.ending.residual:
            words = self.words.add(words, self._added(residual, total.bits))
        value = self._within(self.words.bytes(words, total.bits))
        store(self.output, at, self._masked(value, channel), self.lanes)

    def _added(self, place: Expr, bits: int) -> Expr:
        """The residual's words."""
        wide = load(self.residual, place, self.lanes).astype(f"int16x{self.lanes}")
        steps = self.words.hold(wide << self.words.splat(_RESIDUAL_BITS))
        if not self.spec.ending.as_stored:
            steps = steps - self._parameter(_ZERO)
        return self.words.product(steps, self._parameter(_FACTORS + BITS.index(bits)))

    def _parameter(self, number: int, kind: str = "int16") -> Expr:
        return T.Broadcast(self.parameters[number].astype(kind), self.lanes)

    def _within(self, value: Expr) -> Expr:
        """The operator's limits."""
        if not self.spec.ending.limited:
            return value
        above = T.max(hold(value, self.lanes, "uint8"), self._parameter(_LOW, "uint8"))
        return T.min(hold(above, self.lanes, "uint8"), self._parameter(_HIGH, "uint8"))

    def _masked(self, value: Expr, channel: Expr) -> Expr:
        """Zero past the last filter."""
        if not self.spec.ending.filters:
            return value
        inside = T.Ramp(channel, 1, self.lanes) < splat(self.spec.ending.filters, self.lanes, "int32")
        return T.Select(inside, value, splat(0, self.lanes, "uint8"))


def packed_bias(op: Operator, bias: Array) -> Array:
    """(len(BITS), filters of whole blocks), int16."""
    found = np.zeros((len(BITS), up(bias.size, BLOCK)), np.int16)
    for row, bits in zip(found, BITS, strict=True):
        row[: bias.size] = word_bias(bias, one_quant(op.result.type)[1], bits)
    return found


def packed_parameters(op: Operator) -> Array:
    """int16: the result's limits, and of a residual its zero point and a factor for each number of bits."""
    found = np.zeros(_FACTORS + len(BITS), np.int16)
    found[[_LOW, _HIGH]] = op["limits"]
    if len(op.operands) > RESIDUAL:
        found[_ZERO] = one_quant(op.operands[RESIDUAL].type)[1] << _RESIDUAL_BITS
        found[_FACTORS:] = [residual_factor(op, bits) for bits in BITS]
    return found


def _steps(words: Saturating, f: Sequence[Expr]) -> list[Expr]:
    """Where nothing is too large."""
    near, odd = words.hold(f[1] + f[2]), words.hold(f[1] - f[2])
    if len(f) == 4:
        return [f[0] + near, odd + f[3]]
    far, wide = words.hold(f[3] + f[4]), words.hold(f[3] - f[4])
    last = odd + words.shifted(wide, 2) + f[5]
    return [f[0] + words.shifted(near, 1) + far, odd + wide, near + words.shifted(far, 1), last]


def _limited_steps(words: Saturating, f: Sequence[Expr]) -> list[Expr]:
    """Each sum within 16 bits."""
    add, less, shifted = words.add, words.less, words.shifted
    near, odd = add(f[1], f[2]), less(f[1], f[2])
    if len(f) == 4:
        return [add(f[0], near), add(odd, f[3])]
    far, wide = add(f[3], f[4]), less(f[3], f[4])
    last = add(add(odd, shifted(wide, 2)), f[5])
    return [add(add(f[0], shifted(near, 1)), far), add(odd, wide), add(near, shifted(far, 1)), last]
