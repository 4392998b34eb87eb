"""The meaning of every operator in NumPy, written for clarity; no backend calls it.

Each family module has a table `RULES` from operator name (without the stage
prefix) to a function of the operator and its operand arrays. Arrays are always
logical and row-major: a layout changes where elements lie, never what they are.

Sums of floats are kept in float64 and rounded once, so that what they give does
not show in which order the machine's BLAS adds (sums of float64 themselves do);
sums of integers are kept in their own type.
"""

from __future__ import annotations

from ..graph import Operator
from ..ops.quantize import TFLITE
from . import (
    carried,
    elementwise,
    grid,
    linear,
    matrix,
    movement,
    normalize,
    places,
    quantize,
    recurrent,
    reduce,
    resize,
    tflite,
    tflite_kernels,
    windows,
    winograd,
)
from .rule import Array, Rule

RULES: dict[str, Rule] = {
    **carried.RULES,
    **elementwise.RULES,
    **grid.RULES,
    **linear.RULES,
    **matrix.RULES,
    **movement.RULES,
    **normalize.RULES,
    **places.RULES,
    **quantize.RULES,
    **recurrent.RULES,
    **reduce.RULES,
    **resize.RULES,
    **tflite_kernels.RULES,
    **windows.RULES,
    **winograd.RULES,
}


def rule_of(op: Operator) -> Rule:
    """The meaning of `op`; KeyError for an operator without one."""
    name = op.name.split(".", 1)[1]
    return tflite.RULES[name] if op.get("rounding") == TFLITE else RULES[name]


__all__ = ["RULES", "Array", "Rule", "rule_of"]
