"""What an artifact may hold instead of a constant: the filters of the model, which the runtime transforms.

Winograd's transform makes 16 to 81 numbers of nine. Where the file is to be small, it holds the nine, and
`runtime/transform.c` makes the constant when a state is made, to the same bits: by `ir/filters.py`,
or exactly where it is whole numbers, then put where the kernel reads it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.filters import Matrix

Array = NDArray[Any]
Digits = tuple[tuple[int, int], ...]
"""A place as a number of mixed radix: extents and strides, the digit that turns fastest first."""

MOST_DIGITS = 6


def digits_of(places: NDArray[np.integer]) -> Digits:
    """The digits that give `places`, from 0 on; ValueError where there are none or too many."""
    rest, found = np.asarray(places, np.int64), []
    while len(rest) > 1:
        stride = int(rest[1])
        breaks = np.flatnonzero(rest != np.arange(len(rest)) * stride)
        extent = int(breaks[0]) if len(breaks) else len(rest)
        if len(rest) % extent:
            raise ValueError("places are no number of mixed radix")
        found.append((extent, stride))
        whole = rest[::extent]
        if not np.array_equal(np.add.outer(whole, np.arange(extent) * stride).reshape(-1), rest):
            raise ValueError("places are no number of mixed radix")
        rest = whole
    if len(found) > MOST_DIGITS:
        raise ValueError(f"places have {len(found)} digits, {MOST_DIGITS} are known")
    return tuple(found)


@dataclass(frozen=True)
class Places:
    """Where the number of a tap, filter and channel lies in a constant: the sum of three places."""

    tap: int
    filters: Digits
    channels: Digits


def places_of(
    arrange: Callable[[Array], Array], shape: tuple[int, int, int], channels: Array | None = None
) -> Places:
    """Of what `arrange` makes of (taps, filters, channels), whose elements it only moves.

    Where `channels` are given, it may leave out all others, which are not counted.
    """
    moved = arrange(np.arange(math.prod(shape), dtype=np.int32).reshape(shape)).reshape(-1)
    lie = np.full(math.prod(shape), -1, np.int64)
    lie[moved] = np.arange(len(moved))
    lie = lie.reshape(shape)[..., slice(None) if channels is None else channels]
    tap = int(lie[1, 0, 0])
    sums = (np.arange(shape[0]) * tap)[:, None, None] + lie[0, :, 0][:, None] + lie[0, 0, :]
    if not np.array_equal(sums, lie):
        raise ValueError("taps, filters and channels are not laid out apart")
    return Places(tap, digits_of(lie[0, :, 0]), digits_of(lie[0, 0, :]))


@dataclass(frozen=True, eq=False)
class Bytes:
    """What `byte_filters` is given besides filters, and where the rest goes of what it makes.

    `scales` (M,) are for each filter, the operator's; starts and scales of the kernel lie by group of `width`
    filters, then by tap; where a kernel has no starts, none are made. The factors of a tap lie `stride` apart
    in a constant of their own, whose elements have `factor_bytes`; where they are `crossed`, those of the
    middle two of each four channels have changed places.
    """

    scales: NDArray[np.float32]
    width: int
    stride: int
    factor_bytes: int = 2
    crossed: bool = False


@dataclass(frozen=True, eq=False)
class Origin:
    """Filters (M, C, 3, 3), i8 with `bytes`, else float32 or float16, and what the runtime makes of them.

    Of i8 (M, C, side, side) without `bytes` it makes int16, exactly: `down` and `across` are whole numbers.
    `made` are the numbers of the kernel's arguments that come from them: the weights, and of bytes the
    starts, if there are any, and the scales. Argument number `factors` is read.
    """

    filters: Array
    down: Matrix
    across: Matrix
    places: Places
    made: tuple[int, ...] = (0,)
    bytes: Bytes | None = None
    factors: int = -1

    @property
    def taps(self) -> int:
        return len(self.down) * len(self.across)

    @property
    def side(self) -> int:
        """Rows and columns of filters whose transform is int16; 0 of all others."""
        whole = self.filters.dtype == np.int8 and self.bytes is None
        return int(self.filters.shape[2]) if whole else 0

    @property
    def half(self) -> bool:
        """Whether the filters, and what is made of them, are float16."""
        return self.filters.dtype == np.float16

    @property
    def sources(self) -> tuple[Array, ...]:
        """What the artifact holds."""
        return (self.filters,) if self.bytes is None else (self.filters, self.bytes.scales)
