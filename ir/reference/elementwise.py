"""Element-wise operators: the rows of `ir.elementwise.FUNCTIONS`, chains of them, casts, selection, logic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..elementwise import FUNCTIONS, Function
from ..graph import Operator
from .rule import Array, Rule, finished


def _of_row(row: Function) -> Rule:
    def rule(op: Operator, arrays: Sequence[Array]) -> Array:
        found = row.evaluate(*arrays, *[op[p] for p in row.params])
        return found.astype(arrays[0].dtype, copy=False)

    return rule


def map_(op: Operator, arrays: Sequence[Array]) -> Array:
    return finished(op, arrays[0], arrays[0].dtype, arrays[1:])


def cast(op: Operator, arrays: Sequence[Array]) -> Array:
    return arrays[0].astype(op["dtype"].numpy)


def _numpy(function: Callable[..., Any]) -> Rule:
    return lambda _, arrays: np.asarray(function(*arrays))


RULES: dict[str, Rule] = {
    **{name: _of_row(row) for name, row in FUNCTIONS.items()},
    "map": map_,
    "cast": cast,
    "where": _numpy(np.where),
    "equal": _numpy(np.equal),
    "greater": _numpy(np.greater),
    "greater_equal": _numpy(np.greater_equal),
    "less": _numpy(np.less),
    "less_equal": _numpy(np.less_equal),
    "and": _numpy(np.logical_and),
    "or": _numpy(np.logical_or),
    "xor": _numpy(np.logical_xor),
    "not": _numpy(np.logical_not),
}
