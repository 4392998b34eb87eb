"""The primitives of GPUs: their own, and those of processors, a task of which is a thread's."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from ...primitives.operator import Primitive
from ...primitives.registry import Primitives
from . import implicit_gemm
from .per_thread import PerThread

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
    "dense.matmul",
    "move.movement",
    "conv.naive",
    "reduce.normalize",
    "reduce.pool",
    "elementwise.quantize",
    "dense.recurrence",
    "reduce.reduce",
    "move.relayout",
    "elementwise.table",
    "move.view",
)
"""Those in `codegen/primitives` whose tasks threads compute."""

_UNFIT = ("im2row", "kn2row", "winograd2", "winograd4", "winograd6", "depthwise_quads")
"""Primitives that live from a core's own cache, which a thread has none of."""


def _listed() -> Iterator[Primitive]:
    yield from implicit_gemm.PRIMITIVES
    for name in MODULES:
        found = import_module(f"secateur.codegen.primitives.{name}").PRIMITIVES
        yield from (PerThread(primitive) for primitive in found if primitive.name not in _UNFIT)


PRIMITIVES = Primitives(tuple(_listed()))
