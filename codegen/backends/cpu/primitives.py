"""The primitives of processors."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from ...primitives.operator import Primitive
from ...primitives.registry import Primitives

MODULES = (
    "conv.primitives",
    "elementwise.elementwise",
    "move.gather",
    "resize.grid_sample",
    "move.join",
    "dense.int8",
    "elementwise.int8",
    "reduce.pool_int8",
    "elementwise.prelu_int8",
    "elementwise.logic",
    "move.scatter",
    "dense.matmul",
    "move.movement",
    "conv.naive",
    "reduce.normalize",
    "reduce.pool",
    "reduce.pool_index",
    "elementwise.quantize",
    "dense.recurrence",
    "reduce.reduce",
    "move.relayout",
    "elementwise.table",
    "move.view",
)
"""Those in `codegen/primitives` that have a list `PRIMITIVES`; of equally fast primitives the first wins."""


def _listed() -> Iterator[Primitive]:
    for name in MODULES:
        yield from import_module(f"secateur.codegen.primitives.{name}").PRIMITIVES


PRIMITIVES = Primitives(tuple(_listed()))
