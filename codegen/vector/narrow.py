"""The step of 8-bit kernels for weights that leave room: products of bytes are added up in 16 bits first.

x86 multiplies unsigned by signed bytes and adds two products to an int16, which saturates. For weights with
room (`ir/support/room.py`) it never does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..targets.target import Target
from ..tir import T, load, splat
from .dot import QUAD, Bytes, Dot, Prepared, quad
from .shuffles import hold

Expr = Any
Buffer = Any


@dataclass(frozen=True)
class Narrow(Dot):
    """`depth` quads of channels a step; `pairs` multiplies bytes, `intrinsic` adds two int16 to an int32."""

    depth: int = 1

    @property
    def bytes(self) -> int:
        return QUAD * self.lanes * self.depth

    @property
    def weight_registers(self) -> int:  # type: ignore[override]
        return self.depth

    element_registers = 4  # an element, two products, and ones

    @property
    def operations(self) -> float:  # type: ignore[override]
        return 2.0 * self.depth + 1

    @property
    def multiplies(self) -> int:  # type: ignore[override]
        return self.depth + 1

    def element(self, buffer: Buffer, index: Expr) -> Prepared:
        width = QUAD * self.lanes
        quads = (quad(buffer, index + QUAD * k, self.lanes) for k in range(self.depth))
        return tuple(hold(q, width, "int8") for q in quads)

    def weights(self, buffer: Buffer, index: Expr) -> Prepared:
        width = QUAD * self.lanes
        loads = (load(buffer, index + width * k, width) for k in range(self.depth))
        return tuple(hold(v, width, "int8") for v in loads)

    def accumulate(self, acc: Any, at: int, element: Prepared, weights: Prepared) -> None:
        words = 2 * self.lanes
        total: Expr = None
        for pair in zip(element, weights, strict=True):
            product = T.call_llvm_pure_intrin(f"int16x{words}", self.pairs, *pair)
            total = hold(product if total is None else total + product, words, "int16")
        ones = splat(1, words, "int16")
        acc[at] = acc[at] + T.call_llvm_pure_intrin(f"int32x{self.lanes}", self.intrinsic, total, ones)

    def pack(self, quads: Bytes) -> Bytes:
        """i8 of shape (..., lanes, 4 * depth) as [quad][lane][byte]."""
        split = quads.reshape(*quads.shape[:-1], self.depth, QUAD)
        return np.ascontiguousarray(np.swapaxes(split, -2, -3)).reshape(*quads.shape[:-2], self.bytes)


def narrow_dot(target: Target, depth: int) -> Narrow | None:
    """That of the target, None where its row names none, or no quads of channels may meet."""
    isa = target.isa
    step = Narrow(target.lanes, isa.dot.intrinsic, isa.dot.rate, pairs=isa.narrow, depth=depth)
    return step if isa.narrow and depth else None
