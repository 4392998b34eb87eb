"""Which kernels are of a kind: alike in all but their extents, so that one's time tells of another's.

A cost table's kernels are named by symbols, which say nothing of a kernel that is not there. So each entry
also says its kind, its extents, and what the cost model estimates for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from secateur.codegen.primitives.operator import dynamic_operands
from secateur.ir.graph import Operator

if TYPE_CHECKING:
    from .candidates import Candidate

_EXTENTS = frozenset(
    {"groups", "shape", "starts", "ends", "split", "ranges", "channels", "workspace", "reach"}
)
"""Attributes that follow extents."""


@dataclass(frozen=True)
class Kin:
    """A kernel's `kind` in words, its `variant` (window, steps, epilogue, ...) within it, and its extents.

    Kernels of one kind have equally many extents: those of the first operand and of the result. `estimate`
    is the cost model's, in seconds.
    """

    kind: str
    variant: str
    extents: tuple[int, ...]
    estimate: float


def kin_of(candidate: Candidate) -> Kin:
    """The kin of a kernel that may be chosen."""
    op = candidate.chosen
    dynamic = [op.operands[i].type for i in dynamic_operands(op)]
    ends = (*(type.shape for type in dynamic[:1]), op.results[0].type.shape)
    types = [*dynamic[:1], op.results[0].type]
    words = (op.name.removeprefix("prim."), op["primitive"], *_window(op))
    layouts = "->".join(f"{t.dtype.value}:{t.layout.name}:{t.rank}" for t in types)
    variant = hashlib.sha256("\n".join(_details(op)).encode()).hexdigest()[:12]
    return Kin(
        " ".join((*words, layouts)), variant, tuple(n for shape in ends for n in shape), candidate.estimate
    )


def _window(op: Operator) -> Iterator[str]:
    """Of a convolution."""
    if "conv" in op.name and len(op.operands) > 1 and op.operands[1].type.rank > 2:
        yield "x".join(map(str, op.operands[1].type.shape[2:]))


def _details(op: Operator) -> Iterator[str]:
    """What else tells apart kernels of a kind, but for extents."""
    for name, value in sorted(op.attributes.items()):
        if name not in _EXTENTS and not isinstance(value, np.ndarray):
            yield f"{name}={_plain(value)}"
    for value in (*op.operands, *op.results):
        type = value.type
        yield f"{value.is_constant} {type.dtype.value} {type.layout.name} {type.rank}"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
