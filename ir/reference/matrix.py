"""Matrix products."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph import Operator
from .rule import Array, Rule, finished, widened


def matmul(op: Operator, arrays: Sequence[Array]) -> Array:
    a, b, *extras = arrays
    return finished(op, np.asarray(np.matmul(widened(a), widened(b))), a.dtype, extras)


RULES: dict[str, Rule] = {"matmul": matmul}
