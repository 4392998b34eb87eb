"""Winograd's transform of filters, U = G g G^T, in a stated order: the same bits wherever it is done.

An artifact that holds the filters of a model transforms them where it is loaded, in C
(`runtime/transform.c`), and must find the bits that were found when it was compiled. So every step is a
rounding of IEEE 754, none is left to a library, and no product is fused with a sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, reduce
from operator import add
from typing import Any, NamedTuple, SupportsFloat

import numpy as np
from numpy.typing import NDArray

from .root_two import root_two
from .winograd import float_winograd, half_winograd, winograd

Array = NDArray[Any]
Matrix = tuple[tuple[float, ...], ...]
ONE = np.float32(1 << 15)
"""A factor of 1 (`q.winograd_conv`)."""
LARGEST = np.float32(127)
LEAST = np.float32(1e-30)


class Bytes(NamedTuple):
    """Filters in the Winograd domain as bytes."""

    weights: NDArray[np.int8]  # (taps, M, C)
    units: NDArray[np.float32]  # (taps, M): what a step of the weights is in steps of the filters


def _floats(matrix: Sequence[Sequence[SupportsFloat]]) -> Matrix:
    return tuple(tuple(map(float, row)) for row in matrix)


@cache
def rational_matrix(outputs: int, taps: int = 3) -> Matrix:
    """G of F(outputs, taps) of whole numbers in B^T, rounded to float64."""
    return _floats(winograd(outputs, taps).g)


@cache
def float_matrix(outputs: int, taps: int = 3) -> Matrix:
    """G of F(outputs, taps) as float convolutions of processors have it, rounded to float64."""
    return _floats(float_winograd(outputs, taps).g)


@cache
def half_matrix(outputs: int, taps: int = 3) -> Matrix:
    """G of F(outputs, taps) as convolutions in binary16 have it, rounded to float64."""
    return _floats(half_winograd(outputs, taps).g)


@cache
def byte_matrix(outputs: int) -> Matrix:
    """G of F(outputs, 3) as `q.winograd_conv` has it, at sqrt 2 where it has 4 outputs."""
    return _floats(root_two().g) if outputs == 4 else rational_matrix(outputs)


def transformed_filters(filters: Array, down: Matrix, across: Matrix) -> NDArray[np.float64]:
    """G g G^T of filters (M, C, rows, columns) in float64: (taps down, taps across, M, C).

    Down the columns first; terms are added in their order.
    """
    g = np.ascontiguousarray(filters.transpose(2, 3, 0, 1), np.float64)
    columns = np.stack([_sum(row, g) for row in down])
    return np.stack([np.stack([_sum(row, c) for row in across]) for c in columns])


def _sum(row: tuple[float, ...], terms: Array) -> Array:
    products = (factor * term for factor, term in zip(row, terms, strict=True))
    found: Array = reduce(add, products)
    return found


def byte_filters(filters: NDArray[np.int8], factors: NDArray[np.int16], tile: Sequence[int]) -> Bytes:
    """i8 filters (M, C, 3, 3) as bytes for F(tile, 3x3), in float32 from here on.

    1. y = f32(U) (2^15 / factor), each tap and channel by its factor.
    2. reach = the largest |y| of each tap and filter, 10^-30 at least.
    3. weights = y (127 / reach), rounded to the nearest, halves to even, limited to -127 .. 127.
    4. units = reach / 127.
    """
    whole = transformed_filters(filters, byte_matrix(tile[0]), byte_matrix(tile[1]))
    u = whole.astype(np.float32).reshape(-1, *filters.shape[:2])
    y = u * (ONE / factors.astype(np.float32))[:, None, :]
    reach = np.maximum(np.abs(y).max(axis=2, initial=0), LEAST)
    weights = np.rint(y * (LARGEST / reach)[:, :, None]).clip(-127, 127)
    return Bytes(weights.astype(np.int8), reach / LARGEST)
