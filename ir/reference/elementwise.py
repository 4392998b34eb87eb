"""Element-wise operators: the rows of `ir.elementwise.FUNCTIONS`, chains of them, casts, selection, logic."""

from __future__ import annotations

from collections.abc import Sequence

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


RULES: dict[str, Rule] = {**{name: _of_row(row) for name, row in FUNCTIONS.items()}, "map": map_}
