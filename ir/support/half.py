"""Numbers in binary16: where they end, and constants rounded to them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST = 65504.0
"""Of binary16; what is larger is infinite."""
LEAST_NORMAL = 2.0**-14
"""Below it, binary16 has fewer bits."""


def rounded(array: NDArray[Any]) -> NDArray[np.float16]:
    """Each element as the nearest of binary16, infinite where it is beyond the largest."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array.astype(np.float16))


def overflows(array: NDArray[Any]) -> bool:
    """Whether a number that is finite is not in binary16."""
    return bool((np.isfinite(array) & ~np.isfinite(rounded(array))).any())
