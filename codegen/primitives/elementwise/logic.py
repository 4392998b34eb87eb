"""Comparisons and boolean operators; booleans are bytes of 0 or 1."""

from __future__ import annotations

from secateur.ir.graph import Operator
from secateur.ir.types import ROW_MAJOR

from ...targets.target import Target
from ..generic import same_layouts
from ..operator import Combination
from .broadcast import BOOLEANS, COMPARISONS
from .elementwise import Elementwise


class Logic(Elementwise):
    """Row-major, as booleans never reach a convolution."""

    name = "logic"
    operators = (*COMPARISONS, *BOOLEANS)

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        return (same_layouts(op, ROW_MAJOR),)


PRIMITIVES = (Logic(),)
