"""Matrix instructions on bytes: how kernels call them, and what LLVM is told of them.

TIR has no results of several values, so a kernel calls a function of ours that gives a vector. Of `mma` it is
known which lane has what of an operand. Of `wmma` it is not: there are instructions that load and store, too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...tir import T

Expr = Any

PREFIX = "secateur_mma_"
_DECLARED = re.compile(rf"^declare <4 x i32> @{PREFIX}(k\d+)_(\w+)\(.*$", flags=re.M)
WMMA = "secateur_wmma_"
_WMMA_DECLARED = re.compile(rf"^declare .*@{WMMA}(\w+)\(.*$", flags=re.M)
_WMMA_FUNCTIONS = {  # intrinsic, from one row or column to the next in memory, words that it takes and gives
    "a": ("m16n16k16.load.a.row.stride.s8.p0", 16, 0, 2),
    "b": ("m16n16k16.load.b.col.stride.s8.p0", 16, 0, 2),
    "mma": ("m16n16k16.mma.row.col.s8", 0, 12, 8),
    "d": ("m16n16k16.store.d.col.stride.s32.p0", 16, 8, 0),
    "tall_a": ("m32n8k16.load.a.row.stride.s8.p0", 16, 0, 4),
    "tall_b": ("m32n8k16.load.b.col.stride.s8.p0", 16, 0, 1),
    "tall_mma": ("m32n8k16.mma.row.col.s8", 0, 13, 8),
    "tall_d": ("m32n8k16.store.d.col.stride.s32.p0", 32, 8, 0),
}
_REGISTERS = {"k16": (2, 1), "k32": (4, 2)}  # of the left and the right operand

_DEFINITION = """\
declare {{i32, i32, i32, i32}} @llvm.nvvm.mma.m16n8{depth}.row.col.{kinds}({types})
define internal <4 x i32> @{prefix}{depth}_{signs}({parameters}) alwaysinline convergent nounwind {{
  %r = call {{i32, i32, i32, i32}} @llvm.nvvm.mma.m16n8{depth}.row.col.{kinds}({parameters})
{moves}
  ret <4 x i32> %v4
}}
"""


def multiply(left: Sequence[Expr], right: Sequence[Expr], sums: Expr, signed: bool) -> Expr:
    """sums + left right of signed bytes and of `signed` or unsigned ones; operands are a warp's registers.

    A lane's words lie as the PTX manual says of mma.m16n8k16 and m16n8k32; `sums` are its four.
    """
    depth = 16 if len(right) == 1 else 32
    name = f"{PREFIX}k{depth}_{'s' if signed else 'u'}"
    return T.call_extern("int32x4", name, *left, *right, *sums)


@dataclass(frozen=True)
class Wmma:
    """The instructions of one shape: 16 filters by 16 pixels, or, `tall`, 32 by 8; both over 16 bytes."""

    tall: bool = False

    @property
    def rows(self) -> int:
        """Filters."""
        return 32 if self.tall else 16

    @property
    def columns(self) -> int:
        """Pixels."""
        return 8 if self.tall else 16

    @property
    def left(self) -> int:
        """Words of a lane."""
        return 4 if self.tall else 2

    @property
    def right(self) -> int:
        return 1 if self.tall else 2

    def fetch(self, side: str, buffer: Any, at: Expr) -> Expr:
        """A lane's words of all rows (side "a") or columns ("b") of 16 bytes, which lie one after another."""
        words = self.left if side == "a" else self.right
        kind = "int32" if words == 1 else f"int32x{words}"
        return T.call_extern(kind, self._name(side), T.address_of(buffer[at]))

    def multiply(self, left: Sequence[Expr], right: Sequence[Expr], sums: Sequence[Expr]) -> Expr:
        """sums + left right of signed bytes; operands are a lane's words."""
        return T.call_extern("int32x8", self._name("mma"), *left, *right, *sums)

    def store(self, buffer: Any, at: Expr, sums: Sequence[Expr]) -> None:
        """Stores the sums from `at` on, column by column."""
        T.evaluate(T.call_extern("void", self._name("d"), T.address_of(buffer[at]), *sums))

    def _name(self, what: str) -> str:
        return f"{WMMA}{'tall_' if self.tall else ''}{what}"


def defined(llvm_ir: str) -> str:
    """The text with a definition for each of these functions that it calls."""
    text = _DECLARED.sub(lambda found: _definition(found[1], found[2]), llvm_ir)
    return _WMMA_DECLARED.sub(lambda found: _wmma_definition(found[1]), text)


def _wmma_definition(name: str) -> str:
    intrinsic, apart, given, results = _WMMA_FUNCTIONS[name]
    parameters = [*(["ptr %p"] if apart else []), *(f"i32 %a{i}" for i in range(given))]
    stride = [f"i32 {apart}"] if apart else []
    kinds = ", ".join(part.split()[0] for part in (*parameters, *stride))
    alone = {0: "void", 1: "i32"}
    several = alone.get(results, "{" + ", ".join(["i32"] * results) + "}")
    whole = alone.get(results, f"<{results} x i32>")
    call = f"call {several} @llvm.nvvm.wmma.{intrinsic}({', '.join([*parameters, *stride])})"
    lines = [f"declare {several} @llvm.nvvm.wmma.{intrinsic}({kinds})"]
    lines += [
        f"define internal {whole} @{WMMA}{name}({', '.join(parameters)}) alwaysinline convergent nounwind {{"
    ]
    if not results:
        return "\n".join([*lines, f"  {call}", "  ret void", "}", ""])
    if results == 1:
        return "\n".join([*lines, f"  %r = {call}", "  ret i32 %r", "}", ""])
    moves = _moves(several, whole, results)
    return "\n".join([*lines, f"  %r = {call}", moves, f"  ret {whole} %v{results}", "}", ""])


def _moves(several: str, whole: str, count: int) -> str:
    """The values of the structure `%r` as a vector `%v` and their number."""
    moves, before = [], "undef"
    for i in range(count):
        moves += [
            f"  %c{i} = extractvalue {several} %r, {i}",
            f"  %v{i + 1} = insertelement {whole} {before}, i32 %c{i}, i32 {i}",
        ]
        before = f"%v{i + 1}"
    return "\n".join(moves)


def _definition(depth: str, signs: str) -> str:
    count = sum(_REGISTERS[depth]) + 4
    return _DEFINITION.format(
        prefix=PREFIX,
        depth=depth,
        signs=signs,
        kinds="s8" if signs == "s" else "s8.u8",
        types=", ".join(["i32"] * count),
        parameters=", ".join(f"i32 %a{i}" for i in range(count)),
        moves=_moves("{i32, i32, i32, i32}", "<4 x i32>", 4),
    )
