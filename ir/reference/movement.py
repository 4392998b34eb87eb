"""Operators that move data without computing; and constants."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph import Operator
from .rule import Array, Rule


def constant(op: Operator, _: Sequence[Array]) -> Array:
    value: Array = op["value"]
    return value


def reshape(op: Operator, arrays: Sequence[Array]) -> Array:
    return arrays[0].reshape(op["shape"])


def transpose(op: Operator, arrays: Sequence[Array]) -> Array:
    return np.transpose(arrays[0], op["perm"])


def relayout(_: Operator, arrays: Sequence[Array]) -> Array:
    return arrays[0]


RULES: dict[str, Rule] = {"constant": constant, "reshape": reshape, "transpose": transpose, "relayout": relayout}
