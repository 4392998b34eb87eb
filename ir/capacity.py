"""How much one kernel may hold.

Code generation builds a kernel from nested declarations and expressions and walks them recursively: several
hundred pointers, or some thousands of fused steps, overflow the stack of the process, and compile time grows
faster than either. So there are limits, far above what networks have (a DenseNet joins 65 tensors, an
activation and its neighbours are some ten steps of a hundred operations) and far below what overflows. They
cost next to nothing: a kernel that reads 64 tensors writes its result once for 64 reads, and one with 256
operations for each element is bound by these, not by memory.

Fusion stops at the limits; wider concatenations are split by the pass `fuse` (`canonicalize/joins.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from .elementwise import Step
from .graph import Operator

MOST_OPERANDS = 64  # tensors that a kernel reads, weights among them
MOST_WORK = 256  # vector operations that fused steps take for each vector of results, roughly


def excess(operands: int, steps: Sequence[Step]) -> str | None:
    """Why a kernel of so many operands and such steps is too large, or None."""
    if operands > MOST_OPERANDS:
        return f"{operands} operands, a kernel has at most {MOST_OPERANDS}"
    work = sum(step.function.work for step in steps)
    if work > MOST_WORK:
        return f"{len(steps)} steps of {work} vector operations, a kernel has at most {MOST_WORK}"
    return None


def excess_of(op: Operator) -> str | None:
    """Why one operator is too large for a kernel, or None."""
    return excess(len(op.operands), op.get("epilogue", ()))
