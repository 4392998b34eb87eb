"""Which operators of a float network may compute in binary16, and why others may not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from secateur.ir.elementwise import FUNCTIONS
from secateur.ir.graph import Operator, Value, constant_of
from secateur.ir.support.half import LARGEST, LEAST_NORMAL
from secateur.ir.types import DType

ROOM = 2.0
"""How much larger than the largest value seen one may be that was not."""

_WIDE_STEPS = frozenset({"exp", "pow", "rpow", "mod", "fmod", "sin", "cos"})
_ANCHORS = frozenset({"nn.conv", "nn.matmul"})
_FOLLOWERS = frozenset(
    {
        "nn.map", "nn.max_pool", "nn.average_pool", "nn.reduce_mean", "nn.reduce_max", "nn.reduce_min",
        "nn.reshape", "nn.transpose", "nn.expand", "nn.tile", "nn.concat", "nn.slice", "nn.gather", "nn.pad",
        "nn.resize", "nn.depth_to_space", "nn.space_to_depth", "nn.batch_norm", "nn.where",
        *(f"nn.{name}" for name in FUNCTIONS if name not in _WIDE_STEPS),
    }
)  # fmt: skip
"""Operators that go along with what they read: nothing is gained by them alone."""


def fitting(
    op: Operator, in_half: Callable[[Value], bool], ranges: Mapping[Value, float], kept: frozenset[str]
) -> str | None:
    """Why an operator stays as it is, or None.

    `in_half` tells of a value that is computed in binary16, `ranges` gives largest magnitudes that were seen,
    `kept` the names of nodes to leave alone.
    """
    reason = _kind(op, in_half)
    if reason is None and kept & {op.loc, *op.loc.split("+")}:
        reason = "it is kept in float32"
    return reason or next((why for v in (*op.operands, *op.results) if (why := _value(v, ranges))), None)


def _kind(op: Operator, in_half: Callable[[Value], bool]) -> str | None:
    floats = [v for v in (*op.operands, *op.results) if v.type.dtype.is_float]
    if any(v.type.dtype != DType.F32 for v in floats):
        return "it is not in float32"
    if op.name in _ANCHORS:
        return _linear(op)
    if op.name not in _FOLLOWERS:
        return "it has no kernel in binary16"
    if any(step.op in _WIDE_STEPS for step in op.get("epilogue", ())):
        return "its epilogue leaves the range of binary16"
    return None if any(map(in_half, op.operands)) else "nothing that it reads is in binary16"


def _linear(op: Operator) -> str | None:
    x, weights = op.operands[:2]
    if constant_of(weights) is None:
        return "its weights are computed"
    ranks = (2,) if op.name == "nn.matmul" else (3, 4)
    if x.type.rank not in ranks:
        return f"there are no kernels in binary16 for an input of rank {x.type.rank}"
    wide = any(step.op in _WIDE_STEPS for step in op["epilogue"])
    return "its epilogue leaves the range of binary16" if wide else None


def _value(value: Value, ranges: Mapping[Value, float]) -> str | None:
    """Why a value cannot be stored."""
    array = constant_of(value)
    if array is None:
        seen = ranges.get(value, 0.0)
        return (
            f"values of {seen:.3g} leave too little room below {LARGEST:g}" if seen * ROOM > LARGEST else None
        )
    return _constant(array) if np.issubdtype(array.dtype, np.floating) else None


def _constant(array: np.ndarray[Any, Any]) -> str | None:
    largest = float(np.abs(array).max(initial=0.0))
    if largest > LARGEST:
        return f"a constant of {largest:.3g} is beyond {LARGEST:g}"
    if 0 < largest < LEAST_NORMAL:
        return f"constants of no more than {largest:.3g} have too few bits in binary16"
    return None
