"""What every reference meaning looks like, and helpers they share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..elementwise import apply_epilogue
from ..graph import Operator

Array = NDArray[Any]
Rule = Callable[[Operator, Sequence[Array]], Array]


def widened(x: Array) -> Array:
    """`x` in the type in which it is summed: floats in float64, everything else as it is."""
    return x.astype(np.float64) if np.issubdtype(x.dtype, np.floating) else x


def finished(op: Operator, x: Array, dtype: np.dtype[Any], extras: Sequence[Array]) -> Array:
    """`x` rounded to `dtype`, then the operator's epilogue."""
    return apply_epilogue(x.astype(dtype, copy=False), op["epilogue"], extras)


def lowest(dtype: np.dtype[Any]) -> Any:
    """The element that any other is larger than: the maximum of nothing."""
    if np.issubdtype(dtype, np.floating):
        return -np.inf
    return False if dtype == np.bool_ else np.iinfo(dtype).min


def highest(dtype: np.dtype[Any]) -> Any:
    """The element that any other is smaller than: the minimum of nothing."""
    if np.issubdtype(dtype, np.floating):
        return np.inf
    return True if dtype == np.bool_ else np.iinfo(dtype).max
