"""The primitives of GPUs: their own, and those of processors, a task of which is a thread's."""

from __future__ import annotations

from ...primitives.conv.half import PREFIX
from ...primitives.registry import Primitives
from ..cpu.primitives import PRIMITIVES as PROCESSORS
from . import byte_table, cast_blocks, depthwise, few_channels, grouped_gemm, implicit_gemm
from .dense import primitive as dense
from .dense import rows
from .per_thread import PerThread
from .recurrence import primitive as recurrence
from .reduce import primitive as reduce
from .reduce import top_k
from .winograd import floats, fused, staged

_LOCAL = (
    *("im2row", "kn2row", "winograd2", "winograd4", "winograd5", "winograd6", "winograd7", "winograd4x2"),
    "depthwise_quads",
    *(f"strided_winograd{extent}" for extent in (4, 6, 8)),
    "top_k",
)
_UNFIT = (*_LOCAL, *(f"{PREFIX}{name}" for name in _LOCAL))
"""Primitives that live from a core's own cache, which a thread has none of; or that `_OWN` has as well."""

_PER_THREAD = tuple(PerThread(primitive) for primitive in PROCESSORS.all if primitive.name not in _UNFIT)
_CONVOLUTIONS = (implicit_gemm, few_channels, grouped_gemm, depthwise, fused, staged, floats)
_OWN = (*_CONVOLUTIONS, dense, rows, recurrence, reduce, top_k, byte_table, cast_blocks)
PRIMITIVES = Primitives((*(primitive for own in _OWN for primitive in own.PRIMITIVES), *_PER_THREAD))
