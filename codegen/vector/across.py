"""The step of 8-bit kernels whose sums are of channels: a register is one filter's, a lane some channels'.

Where bytes have no dot product, a quad of channels must be copied to all lanes if each is another filter's. A
block of 16 channels times as many weights of one filter needs no copies: lanes are added up at the end. With
weights that have room (`ir/support/room.py`) the products of several blocks meet in 16 bits first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..targets.target import Target
from ..tir import T, pinned
from .dot import QUAD, Bytes, Halves, Prepared
from .shuffles import hold

Expr = Any

CHANNELS = 16  # of a block
PRODUCTS = 2  # registers, of one filter after another
SPARE = 4 + PRODUCTS + 1  # of a register tile besides sums and blocks: weights, products, a mask


@dataclass(frozen=True)
class Across(Halves):
    """`blocks` blocks of channels a step, of which 2 `blocks` products of a filter meet in an int16.

    Packed weights lie as [filter][block][channel], or, where products of `lanes` filters are added
    `side_by_side`, as [block][filter][channel]. `rate` is that of one block.
    """

    blocks: int = 1
    side_by_side: bool = False

    preparation = 0.0

    @property
    def depth(self) -> int:  # type: ignore[override]
        return self.blocks * CHANNELS // QUAD

    @property
    def operations(self) -> float:  # type: ignore[override]
        return self.lanes * (2.0 * self.blocks + 1)

    @property
    def multiplies(self) -> int:  # type: ignore[override]
        return 2 * self.lanes * self.blocks

    def taken(self, data: Expr, count: int) -> list[Prepared]:
        """The block, whose quads stay together."""
        return [(hold(T.reinterpret(f"int8x{CHANNELS}", self._quads(data, count)), CHANNELS, "int8"),)]

    def begun(self, element: Prepared) -> Prepared:
        return element

    def accumulate(self, acc: Any, at: int, element: Prepared, weights: Prepared) -> None:
        """To the sums of a filter, of a block of `element` and of its weights each."""
        half = CHANNELS // 2
        total: Expr = None
        for pair in zip(element, weights, strict=True):
            for first in (0, half):
                product = self._products((pair[0],), (pair[1],), first)
                total = product if total is None else total + product
        self.close(acc, at, total)

    def accumulate_block(self, totals: Any, first: int, element: Expr, weights: Sequence[Expr]) -> None:
        """totals[first + f] += the products of a block of `element` and of filter f's weights, in int16.

        Half of each, then the others: a sum waits for the last.
        """
        for half in range(0, CHANNELS, CHANNELS // 2):
            for f, one in enumerate(weights, first):
                totals[f] = totals[f] + self._products((element,), (one,), half)

    def close(self, acc: Any, at: int, total: Expr) -> None:
        """acc[at] += the products of a filter."""
        acc[at] = pinned(acc[at] + self._pairs(total))

    def added(self, sums: Sequence[Expr]) -> Expr:
        """The sums of four filters, each of its lanes."""
        pairs = [self._neighbours(a, b) for a, b in (sums[:2], sums[2:])]
        return self._neighbours(*pairs)

    def _neighbours(self, a: Expr, b: Expr) -> Expr:
        kind = f"int32x{self.lanes}"
        return T.call_llvm_pure_intrin(kind, "llvm.aarch64.neon.addp.v4i32", a, b)

    def pack(self, quads: Bytes) -> Bytes:
        """i8 of shape (..., lanes, channels of a step): (..., lanes * channels)."""
        if self.side_by_side:
            blocks = quads.reshape(*quads.shape[:-1], self.blocks, CHANNELS)
            quads = np.ascontiguousarray(np.swapaxes(blocks, -2, -3)).reshape(quads.shape)
        found: Bytes = quads.reshape(*quads.shape[:-2], -1)
        return found


def across(target: Target, blocks: int) -> Across | None:
    """That of the target, None where bytes have a dot product, or no streams."""
    isa, dot = target.isa, target.isa.dot
    if not isa.adds_across:
        return None
    rate = target.rates.dot_per_cycle or (2 * blocks + 1) / (2 * blocks)
    waits = blocks > 1 and target.cpu.in_order
    return Across(target.lanes, dot.intrinsic, rate, dot.quads, dot.offset, dot.pairs, blocks, waits)
