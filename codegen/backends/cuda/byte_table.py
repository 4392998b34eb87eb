"""Functions of a byte by table: a thread looks up 16 bytes, in blocks of channels too.

A GPU has no lookups in registers, so each byte of the table is read from memory, where the caches have it.
What it saves is the conversions of layouts around an activation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

from secateur.ir.graph import Operator

from ...kernel import Kernel
from ...primitives.elementwise.table import TableOfBytes
from ...primitives.generic import type_after
from ...targets.target import Target
from ...tir import T, load, prim_func, splat, store
from ...vector.loops import Expr
from ...vector.requantize import BLOCK
from ...vector.shuffles import hold
from ...vector.walk import Walk
from .per_thread import PerThread


@dataclass(frozen=True)
class ByteTableSpec:
    """A run of elements, or with `channels` a box (images, blocks, pixels, lanes) whose padding is zeroed."""

    extents: tuple[int, ...]
    channels: int = 0

    @property
    def walk(self) -> Walk:
        return Walk(self.extents, (), BLOCK, 8.0, bool(self.channels))


class ByteTable(TableOfBytes):
    """16 bytes at a time."""

    name = "table_blocks"

    def vector_cost(self, op: Operator) -> float:
        return 16.0

    def kernel(self, op: Operator, target: Target) -> Kernel:
        spec = _spec(op)
        return Kernel("table", spec, partial(_build, spec), spec.walk.tasks.count)


def _spec(op: Operator) -> ByteTableSpec:
    type = type_after(op)
    physical, block = type.layout.physical_shape(type.shape), type.layout.block
    if not block or type.shape[1] % block == 0:
        return ByteTableSpec((math.prod(physical),))
    n, blocks, *spatial, lanes = physical
    return ByteTableSpec((n, blocks, math.prod(spatial), lanes), type.shape[1])


def _build(spec: ByteTableSpec) -> Any:
    return prim_func([("x", "uint8"), ("table", "uint8"), ("result", "uint8")], _Body(spec))


class _Body:
    """Emits the loops; called with the buffers."""

    def __init__(self, spec: ByteTableSpec) -> None:
        self.spec = spec

    def __call__(self, x: Any, table: Any, result: Any, _: Any, begin: Expr, end: Expr) -> None:
        self.x, self.table, self.result = x, table, result
        self.spec.walk.emit(begin, end, self._vector)

    def _vector(self, _: list[Expr], at: Expr, _steps: list[int], lanes: int, channel: Expr) -> None:
        given = hold(load(self.x, at, lanes), lanes, "uint8")
        found = [self.table[T.Cast("int32", byte)] for byte in _elements(given, lanes)]
        whole = found[0] if lanes == 1 else hold(T.Shuffle(found, list(range(lanes))), lanes, "uint8")
        store(self.result, at, self._masked(whole, lanes, channel), lanes)

    def _masked(self, value: Expr, lanes: int, channel: Expr) -> Expr:
        if not self.spec.channels:
            return value
        inside = T.Ramp(channel, 1, lanes) < splat(self.spec.channels, lanes, "int32")
        return T.Select(inside, value, splat(0, lanes, "uint8"))


def _elements(vector: Expr, lanes: int) -> list[Expr]:
    return [vector] if lanes == 1 else [T.Shuffle([vector], [i]) for i in range(lanes)]


PRIMITIVES = (PerThread(ByteTable()),)
