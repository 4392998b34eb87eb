"""Normalizations and softmax."""

from __future__ import annotations

from . import batch_norm, lrn, row_norm, softmax
from .operator import Primitive

PRIMITIVES: tuple[Primitive, ...] = (
    *batch_norm.PRIMITIVES,
    *row_norm.PRIMITIVES,
    *lrn.PRIMITIVES,
    *softmax.PRIMITIVES,
)
