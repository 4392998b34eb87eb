"""Reshapes that leave the bytes as they are.

The memory pass gives operand and result the same place, and nothing is
emitted. Where it cannot (a caller's buffer at both ends), the kernel copies.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from secateur.ir.graph import Operator
from secateur.ir.types import ROW_MAJOR, TensorType

from ...kernel import Kernel
from ...targets.target import Target
from ...tir import T, prim_func, store
from ..generic import BLOCKED, channel_block, target_block, with_half
from ..operator import Combination, Primitive

_CHUNK = 4096  # bytes a task copies at least


@dataclass(frozen=True)
class CopySpec:
    """`elements` of `dtype` from one place to another, in `tasks` equal parts."""

    elements: int
    dtype: str
    tasks: int


class View(Primitive):
    """`nn.reshape` where row-major order, or one pixel's blocked channels, have the bytes in place."""

    name = "view"
    operators = ("reshape",)

    def applicable(self, op: Operator, target: Target) -> str | None:
        return None

    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        plain: Combination = ((ROW_MAJOR,), ROW_MAJOR)
        x = op.operands[0].type
        if x.dtype not in with_half(BLOCKED, target) or not _channels_in_order(
            x, channel_block(target, x.dtype)
        ):
            return (plain,)
        return (plain, ((target_block(target, x.dtype),), ROW_MAJOR))

    def estimate(self, op: Operator, target: Target) -> float:
        return 0.0

    def kernel(self, op: Operator, target: Target) -> Kernel:
        type = op.result.type
        tasks = max(1, min(64, type.elements * type.dtype.bytes // _CHUNK))
        spec = CopySpec(type.elements, type.dtype.numpy.name, tasks)
        return Kernel("copy", spec, partial(_build, spec), tasks)


def _channels_in_order(type: TensorType, block: int) -> bool:
    """Whether the blocked form starts with the row-major form: one pixel, whole blocks or one image."""
    if type.rank < 3 or any(d != 1 for d in type.shape[2:]):
        return False
    return type.shape[0] == 1 or type.shape[1] % block == 0


def _build(spec: CopySpec) -> Any:
    share = -(-spec.elements // spec.tasks)

    def body(source: Any, result: Any, _workspace: Any, begin: Any, end: Any) -> None:
        with (
            T.serial(begin, end) as task,
            T.serial(0, T.min(share, spec.elements - task * share)) as i,
        ):
            store(result, task * share + i, source[task * share + i], 1)

    return prim_func([("source", spec.dtype), ("result", spec.dtype)], body)


PRIMITIVES = (View(),)
