"""Floats of 32 bits to those of 16 and back, from one layout to another: a thread has 8 channels of a pixel.

Blocks of channels hold four floats, or eight of 16 bits. So a cast that keeps the layout would want a
conversion beside it, a launch more at each end of a network in binary16.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

from secateur.ir.graph import Operator
from secateur.ir.types import ROW_MAJOR, DType, blocked

from ...kernel import Kernel
from ...primitives.generic import Generic, type_after
from ...primitives.operator import Combination
from ...rounding import up
from ...targets.target import Target
from ...tir import T, load, prim_func, splat, store, when
from ...vector.shuffles import hold
from .block import WORDS, thread
from .implicit_gemm_kernel import held

Expr = Any
THREADS = 128
HALVES = 8  # channels of a block of 16-bit floats
_FLOATS = (DType.F32, DType.F16)


@dataclass(frozen=True)
class CastSpec:
    """`images` x `channels` x `pixels`; of float32 in blocks of four where they are `blocked`."""

    images: int
    channels: int
    pixels: int
    blocked: bool
    to_half: bool

    @property
    def blocks(self) -> int:
        return up(self.channels, HALVES) // HALVES

    @property
    def runs(self) -> int:
        """Of eight channels of a pixel."""
        return self.images * self.blocks * self.pixels


class CastBlocks(Generic):
    """Binary16 in blocks of channels, float32 in its own or in none."""

    name = "cast_blocks"
    operators = ("cast",)

    def applicable(self, op: Operator, target: Target) -> str | None:
        types = op.operands[0].type, type_after(op)
        if {t.dtype for t in types} != {*_FLOATS}:
            return "it casts other types than float32 and binary16"
        if not target.cuda.architecture.half2:
            return "no fast arithmetic in binary16"
        return (
            None if types[0].rank >= 3 and types[0].elements else "only tensors with spatial axes have blocks"
        )

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        half, floats = blocked(HALVES), (blocked(WORDS), ROW_MAJOR)
        if type_after(op).dtype == DType.F16:
            return tuple(((layout,), half) for layout in floats)
        return tuple(((half,), layout) for layout in floats)

    def estimate(self, op: Operator, target: Target) -> float:
        moved = sum(v.type.bytes for v in (*op.operands, *op.results))
        return moved / (target.gpu.dram_gbps * 1e9) + target.gpu.launch_seconds

    def kernel(self, op: Operator, target: Target) -> Kernel:
        spec = _spec(op)
        return Kernel(self.name, spec, partial(_build, spec), -(-spec.runs // THREADS), threads=THREADS)


def _spec(op: Operator) -> CastSpec:
    result, to_half = type_after(op), type_after(op).dtype == DType.F16
    floats = op.operands[0].type if to_half else result
    n, c, *spatial = result.shape
    return CastSpec(n, c, math.prod(spatial), bool(floats.layout.block), to_half)


def _build(spec: CastSpec) -> Any:
    kinds = ("float32", "float16") if spec.to_half else ("float16", "float32")
    return prim_func([("x", kinds[0]), ("result", kinds[1])], _Body(spec))


class _Body:
    """Emits a thread's work; called with the buffers."""

    def __init__(self, spec: CastSpec) -> None:
        self.spec = spec

    def __call__(self, x: Any, result: Any, _: Any, task: Expr, _end: Expr) -> None:
        spec, number = self.spec, held(task * THREADS + thread())
        self.x, self.result = x, result
        with when(number < spec.runs):
            self.pixel = held(T.truncmod(number, spec.pixels))
            self.block = held(T.truncmod(T.truncdiv(number, spec.pixels), spec.blocks))
            self.image = held(T.truncdiv(number, spec.pixels * spec.blocks))
            self._widen(number) if not spec.to_half else self._narrow(number)

    def _narrow(self, number: Expr) -> None:
        parts = [self._four(first) for first in range(0, HALVES, WORDS)]
        whole = hold(T.Shuffle(parts, list(range(HALVES))), HALVES, "float32")
        store(self.result, number * HALVES, whole.astype(f"float16x{HALVES}"), HALVES)

    def _four(self, first: int) -> Expr:
        """Four channels of the thread's eight; what lies past the last one is zero."""
        if self.spec.blocked:
            return hold(self._or_nothing(first, lambda at: load(self.x, at, WORDS), WORDS), WORDS, "float32")
        alone = [hold(self._or_nothing(first + i, lambda at: self.x[at]), 1, "float32") for i in range(WORDS)]
        return hold(T.Shuffle(alone, list(range(WORDS))), WORDS, "float32")

    def _or_nothing(self, first: int, read: Any, lanes: int = 1) -> Expr:
        place = self._place(first)
        if self._is_always(first):
            return read(place)
        there = self._there(first)
        value = hold(read(T.Select(there, place, T.int32(0))), lanes, "float32")
        return T.Select(there, value, splat(0, lanes, "float32") if lanes > 1 else T.float32(0))

    def _widen(self, number: Expr) -> None:
        halves = hold(load(self.x, number * HALVES, HALVES), HALVES, "float16")
        given = hold(halves.astype(f"float32x{HALVES}"), HALVES, "float32")
        for first in range(0, HALVES, WORDS if self.spec.blocked else 1):
            if self._is_always(first):
                self._put(first, given)
                continue
            with when(self._there(first)):
                self._put(first, given)

    def _put(self, first: int, given: Expr) -> None:
        lanes = WORDS if self.spec.blocked else 1
        store(self.result, self._place(first), T.Shuffle([given], list(range(first, first + lanes))), lanes)

    # Where the floats lie ----------------------------------------------------------------------------

    def _place(self, first: int) -> Expr:
        spec = self.spec
        if spec.blocked:
            four = self.image * (up(spec.channels, WORDS) // WORDS) + self.block * 2 + first // WORDS
            return held(four * spec.pixels + self.pixel) * WORDS
        return held((self.image * spec.channels + self.block * HALVES + first) * spec.pixels + self.pixel)

    def _is_always(self, first: int) -> bool:
        return self.spec.channels % HALVES == 0 or (self.spec.blocked and first == 0)

    def _there(self, first: int) -> Any:
        """Whether the channel exists, or one of its block of four."""
        return self.block * HALVES + first < self.spec.channels


PRIMITIVES = (CastBlocks(),)
"""Of binary16."""
