"""A kernel before lowering: what to compute, how to build its code, how many tasks it has."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Kernel:
    """One compilable kernel.

    `spec` is a frozen dataclass whose repr, with the target, determines the code:
    two kernels of equal spec are merged. `build` returns the TVM PrimFunc and is
    the only part that imports TVM; it is a function of a module with its arguments (`functools.partial`),
    so that a kernel can be pickled and built by another process. The function's parameters are raw pointers:
    activation inputs in operand order (data, then the epilogue's extra operands),
    packed constants, the output, the thread's workspace (always present), and
    then the task range `begin`, `end` as int32. The output aliases no other
    pointer, but for those that `overwritten` lists: operands that the operator's declaration and the
    primitive (`keeps`) allow the output to lie on, where the memory pass has it lie. Each of their
    elements is read once, to compute the element of the output at the same place. Tasks 0 <= t < `tasks` are
    independent of each other.
    `workspace` is in bytes, per thread; 64-byte alignment may be assumed.
    `wraps`: its vectors of int32 are counted modulo 2^32, so nothing may be concluded from their sums.

    On a GPU a task is a thread's, or, where `threads` is not 0, that of a block of so many together.
    """

    name: str
    spec: Hashable
    build: Callable[[], Any] = field(compare=False, repr=False)
    tasks: int
    workspace: int = 0
    overwritten: tuple[int, ...] = ()  # places among the pointers
    threads: int = 0
    wraps: bool = False

    def __post_init__(self) -> None:
        if self.tasks < 1 or self.workspace < 0:
            raise ValueError(f"kernel {self.name}: {self.tasks} tasks, {self.workspace} bytes of workspace")
