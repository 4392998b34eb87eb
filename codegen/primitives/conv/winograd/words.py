"""Winograd convolutions on bytes whose results are words: the steps of `ir/reference/words.py`, to the bit.

Products of four filters become words as they are stored. Those of two such vectors lie side by side, so that
eight filters go through the output transform at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from secateur.codegen.targets.isa import Shifts
from secateur.codegen.tir import T, load, splat, store
from secateur.codegen.vector.fixed_point import FixedPoint
from secateur.codegen.vector.requantize import BLOCK
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

WORDS = 8  # of a vector
_RESIDUAL_BITS = 7  # of a fraction that a residual's steps have
_LOW, _HIGH, _ZERO, _FACTORS = range(4)
BITS = (2, 3, 4)
"""Of a fraction that sums of pixels have: a bias for each."""


@dataclass(frozen=True)
class WordArithmetic(ByteArithmetic):
    """`tile` is of the result; sums are shifted by `shift`."""

    tile: tuple[int, int] = (0, 0)
    shift: int = 0
    shifts: Shifts | None = None

    sums = "int16"
    gap = WORDS

    @property
    def result_lanes(self) -> int:
        return WORDS

    def pointers(self, spec: Any) -> list[str | tuple[str, str]]:
        residual = [("residual", "uint8")] if spec.ending.residual else []
        constants = [("weights", "int8"), ("start", "int32"), ("scales", "int16"), ("factors", "int16")]
        ending = [("bias", "int16"), ("parameters", "int16"), ("output", "uint8")]
        return [("data", "uint8"), *residual, *constants, *ending]

    def ending(self, spec: Any, buffers: Buffers) -> Any:
        names = ("residual", "bias", "multipliers", "parameters", "output")
        assert self.shifts is not None, "what makes results in words is asked first"
        return WordEnding(spec, tuple(map(buffers.get, names)), self.fixed, self.shifts)

    def ended(self, acc: Any, vectors: int, buffers: Buffers, at: Expr) -> Iterator[tuple[int, Expr]]:
        """f."""
        lanes = self.ended_lanes(vectors)
        together = lanes // self.lanes
        for v in range(0, vectors, together):
            factor = hold(load(buffers["scales"], at + v * self.lanes, lanes), lanes, "int16")
            for number in range(v, acc.count, vectors):
                words = [self._word(acc[number + k]) for k in range(together)]
                yield number, self._product(words, factor)

    def ended_lanes(self, vectors: int) -> int:
        return WORDS if vectors * self.lanes % WORDS == 0 else self.lanes

    def _word(self, total: Expr) -> Expr:
        assert self.shifts is not None, "what makes results in words is asked first"
        return T.call_llvm_pure_intrin(f"int16x{self.lanes}", self.shifts.words, total, T.int32(self.shift))

    def _product(self, words: Sequence[Expr], factor: Expr) -> Expr:
        """Of a few words, or of a vector."""
        assert self.shifts is not None, "what makes results in words is asked first"
        if len(words) == 1:
            return T.call_llvm_pure_intrin(f"int16x{self.lanes}", self.shifts.product, words[0], factor)
        whole = hold(T.Shuffle([*words], list(range(WORDS))), WORDS, "int16")
        return self.fixed.product(whole, factor)

    def output_steps(self, values: Sequence[Expr]) -> list[Expr]:
        """Down a column, where nothing is too large."""
        f = values
        near, odd = hold(f[1] + f[2], WORDS, "int16"), hold(f[1] - f[2], WORDS, "int16")
        if len(f) == 4:
            return [f[0] + near, odd + f[3]]
        far, wide = hold(f[3] + f[4], WORDS, "int16"), hold(f[3] - f[4], WORDS, "int16")
        last = odd + _shifted(wide, 2) + f[5]
        return [f[0] + _shifted(near, 1) + far, odd + wide, near + _shifted(far, 1), last]

    def kept_output_steps(self, extent: tuple[int, int]) -> Steps:
        return self.output_steps

    def row_steps(self, columns: Steps) -> Steps:
        return _limited_steps

    def settled(self, value: Expr, row: int, column: int) -> Expr:
        if not endings(self.tile)[row][column].root:
            return value
        return self.fixed.product(value, splat(ROOT_FACTOR, WORDS, "int16"))

    def finished(self, value: Expr, bias: Any, row: int, column: int) -> Total:
        bits = endings(self.tile)[row][column].bits
        return Total(_add(value, bias[BITS.index(bits)]), bits)


class Total(NamedTuple):
    """A pixel's words, and how many of their bits are of a fraction."""

    words: Expr
    bits: int


class WordEnding(SumEnding):
    """Of results that are bytes; parameters are those of `packed_parameters`."""

    def __init__(self, spec: LinearSpec, buffers: tuple[Any, ...], fixed: FixedPoint, shifts: Shifts) -> None:
        super().__init__(spec, WORDS, buffers)
        self.fixed, self.shifts = fixed, shifts
        self.residual, self.parameters = buffers[0], buffers[3]

    def start(self, channel: Expr, rows: Any, taps: Any) -> list[Expr]:
        """A bias for each number of `BITS`."""
        apart = up(self.spec.filters, BLOCK)
        loads = [load(self.starts, k * apart + channel, WORDS) for k in range(len(BITS))]
        return [hold(value, WORDS, "int16") for value in loads]

    def store(self, total: Any, image: Expr, pixel: Expr, channel: Expr) -> None:
        """A `Total`."""
        at, residual = self._places(image, pixel, channel)
        words = (
            _add(total.words, self._added(residual, total.bits)) if self.spec.ending.residual else total.words
        )
        kind = f"uint8x{WORDS}"
        value = T.call_llvm_pure_intrin(kind, self.shifts.bytes, words, T.int32(total.bits))
        store(self.output, at, self._masked(self._within(value), channel), WORDS)

    def _added(self, place: Expr, bits: int) -> Expr:
        """The residual's words."""
        wide = load(self.residual, place, WORDS).astype(f"int16x{WORDS}")
        steps = hold(wide << splat(_RESIDUAL_BITS, WORDS, "int16"), WORDS, "int16")
        if not self.spec.ending.as_stored:
            steps = steps - self._parameter(_ZERO)
        return self.fixed.product(steps, self._parameter(_FACTORS + BITS.index(bits)))

    def _parameter(self, number: int) -> Expr:
        return T.Broadcast(self.parameters[number], WORDS)

    def _within(self, value: Expr) -> Expr:
        """The operator's limits."""
        if not self.spec.ending.limited:
            return value
        low, high = (T.Broadcast(self.parameters[k].astype("uint8"), WORDS) for k in (_LOW, _HIGH))
        return T.min(hold(T.max(hold(value, WORDS, "uint8"), low), WORDS, "uint8"), high)

    def _masked(self, value: Expr, channel: Expr) -> Expr:
        """Zero past the last filter."""
        if not self.spec.ending.filters:
            return value
        inside = T.Ramp(channel, 1, WORDS) < splat(self.spec.ending.filters, WORDS, "int32")
        return T.Select(inside, value, splat(0, WORDS, "uint8"))


def packed_bias(bias: Array, zero_point: int) -> Array:
    """(len(BITS), filters of whole blocks), int16."""
    found = np.zeros((len(BITS), up(bias.size, BLOCK)), np.int16)
    for row, bits in zip(found, BITS, strict=True):
        row[: bias.size] = word_bias(bias, zero_point, bits)
    return found


def packed_parameters(op: Operator) -> Array:
    """int16: the result's limits, and of a residual its zero point and a factor for each of `BITS`."""
    found = np.zeros(_FACTORS + len(BITS), np.int16)
    found[[_LOW, _HIGH]] = op["limits"]
    if len(op.operands) > RESIDUAL:
        found[_ZERO] = one_quant(op.operands[RESIDUAL].type)[1] << _RESIDUAL_BITS
        found[_FACTORS:] = [residual_factor(op, bits) for bits in BITS]
    return found


def _shifted(value: Expr, by: int) -> Expr:
    return value >> splat(by, WORDS, "int16")


def _add(a: Expr, b: Expr) -> Expr:
    return _saturating("sadd", a, b)


def _less(a: Expr, b: Expr) -> Expr:
    return _saturating("ssub", a, b)


def _saturating(what: str, a: Expr, b: Expr) -> Expr:
    kind = f"int16x{WORDS}"
    return hold(T.call_llvm_pure_intrin(kind, f"llvm.{what}.sat.v{WORDS}i16", a, b), WORDS, "int16")


def _limited_steps(f: Sequence[Expr]) -> list[Expr]:
    """Along a row, each sum within 16 bits."""
    near, odd = _add(f[1], f[2]), _less(f[1], f[2])
    if len(f) == 4:
        return [_add(f[0], near), _add(odd, f[3])]
    far, wide = _add(f[3], f[4]), _less(f[3], f[4])
    last = _add(_add(odd, _shifted(wide, 2)), f[5])
    return [_add(_add(f[0], _shifted(near, 1)), far), _add(odd, wide), _add(near, _shifted(far, 1)), last]
