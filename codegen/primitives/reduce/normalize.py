"""Normalizations and softmax."""

from __future__ import annotations

from ..elementwise import batch_norm
from ..operator import Primitive
from . import lrn, row_norm, softmax

PRIMITIVES: tuple[Primitive, ...] = (
    *batch_norm.PRIMITIVES,
    *row_norm.PRIMITIVES,
    *lrn.PRIMITIVES,
    *softmax.PRIMITIVES,
)
