"""What a kernel of a block of threads says besides loops: which thread it is, barriers, words in registers.

Such a kernel is written as others are, for a range of tasks: `begin` is the block, and the workspace is the
memory that its threads share. Its buffers are 16-byte aligned.
"""

from __future__ import annotations

from typing import Any

from ...tir import T, load, store

Expr = Any
Buffer = Any

WORDS = 4  # of 4 bytes each, in one access to memory


def thread() -> Expr:
    """The number of this thread in its block."""
    return T.call_llvm_pure_intrin("int32", "llvm.nvvm.read.ptx.sreg.tid.x")


def barrier() -> None:
    """Every thread of the block comes here before any goes on, and sees what the others have written."""
    T.evaluate(T.call_llvm_intrin("void", "llvm.nvvm.barrier.cta.sync.aligned.all", T.int32(0)))


class Words:
    """`count` words in registers, of "int32" or "float32"; places are known while the code is written."""

    def __init__(self, count: int, dtype: str) -> None:
        self._buffer, self._count = T.alloc_buffer((count,), dtype, scope="local", layout=None), count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, at: int) -> Expr:
        return self._buffer[at]

    def __setitem__(self, at: int, value: Expr) -> None:
        T.buffer_store(self._buffer, value, [at])

    def quad(self, at: int) -> Expr:
        """The vector of four words from `at` on."""
        return load(self._buffer, at, WORDS)

    def put(self, at: int, vector: Expr, count: int = WORDS) -> None:
        """Makes a vector of `count` words those from `at` on."""
        store(self._buffer, at, vector, count)

    def fetch(self, at: int, buffer: Buffer, index: Expr, count: int) -> None:
        """`count` words of memory from `index` on, in as few accesses as can be."""
        for first in range(0, count, WORDS):
            width = min(WORDS, count - first)
            store(self._buffer, at + first, load(buffer, index + first, width), width)
