"""Copies of 16 bytes into shared memory that no register holds, and no thread waits for: from sm_80 on.

A thread's copies are in groups, which arrive in order. Before others read what a thread has copied, it waits
for the group, and all meet at a barrier.
"""

from __future__ import annotations

from typing import Any

from ...tir import T

Expr = Any
Buffer = Any

_NAME = "secateur_async_copy"
_DECLARED = f"declare void @{_NAME}("
_DEFINITION = f"""\
declare void @llvm.nvvm.cp.async.cg.shared.global.16(ptr addrspace(3), ptr addrspace(1))
define internal void @{_NAME}(ptr %to, ptr %from) alwaysinline nounwind {{
  %shared = addrspacecast ptr %to to ptr addrspace(3)
  %global = addrspacecast ptr %from to ptr addrspace(1)
  call void @llvm.nvvm.cp.async.cg.shared.global.16(ptr addrspace(3) %shared, ptr addrspace(1) %global)
  ret void
}}"""


def copy(shared: Buffer, to: Expr, source: Buffer, at: Expr) -> None:
    """Begins to copy four words."""
    T.evaluate(T.call_extern("void", _NAME, T.address_of(shared[to]), T.address_of(source[at])))


def end_group() -> None:
    """What this thread has begun to copy since the last group is one."""
    T.evaluate(T.call_llvm_intrin("void", "llvm.nvvm.cp.async.commit.group"))


def wait_for_groups(most: int) -> None:
    """Until at most so many of this thread's groups are under way."""
    T.evaluate(T.call_llvm_intrin("void", "llvm.nvvm.cp.async.wait.group", T.int32(most)))


def with_copies(llvm_ir: str) -> str:
    """The text with a definition of the copy where it is called."""
    lines = [_DEFINITION if line.startswith(_DECLARED) else line for line in llvm_ir.splitlines()]
    return "\n".join(lines) + "\n"
