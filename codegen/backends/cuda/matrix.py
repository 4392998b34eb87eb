"""Matrix instructions on bytes: how kernels call them, and what LLVM is told of them.

TIR has no results of several values, so a kernel calls a function of ours that gives a vector. Of `mma` it is
known which lane has what of an operand. Of `wmma` it is not: there are instructions that load and store, too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ...tir import T

Expr = Any

PREFIX = "secateur_mma_"
_DECLARED = re.compile(rf"^declare <4 x i32> @{PREFIX}(k\d+)_(\w+)\(.*$", flags=re.M)
WMMA = "secateur_wmma_"
_WMMA_DECLARED = re.compile(rf"^declare .*@{WMMA}(\w+)\(.*$", flags=re.M)
_WMMA_FUNCTIONS = {  # intrinsic, whether it takes a pointer, words that it takes and gives
    "a": ("load.a.row.stride.s8.p0", True, 0, 2),
    "b": ("load.b.col.stride.s8.p0", True, 0, 2),
    "mma": ("mma.row.col.s8", False, 12, 8),
    "d": ("store.d.col.stride.s32.p0", True, 8, 0),
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


def fetch_wmma(side: str, buffer: Any, at: Expr) -> Expr:
    """A lane's two words of 16 rows (side "a") or columns ("b") of 16 bytes, which lie one after another."""
    return T.call_extern("int32x2", f"{WMMA}{side}", T.address_of(buffer[at]))


def multiply_wmma(operands: Sequence[Expr], sums: Sequence[Expr]) -> Expr:
    """sums + left right of signed bytes; `operands` are a lane's words of both."""
    return T.call_extern("int32x8", f"{WMMA}mma", *operands, *sums)


def store_wmma(buffer: Any, at: Expr, sums: Sequence[Expr]) -> None:
    """Stores 16 by 16 sums from `at` on, column by column."""
    T.evaluate(T.call_extern("void", f"{WMMA}d", T.address_of(buffer[at]), *sums))


def defined(llvm_ir: str) -> str:
    """The text with a definition for each of these functions that it calls."""
    text = _DECLARED.sub(lambda found: _definition(found[1], found[2]), llvm_ir)
    return _WMMA_DECLARED.sub(lambda found: _wmma_definition(found[1]), text)


def _wmma_definition(name: str) -> str:
    intrinsic, pointers, given, results = _WMMA_FUNCTIONS[name]
    parameters = [*(["ptr %p"] if pointers else []), *(f"i32 %a{i}" for i in range(given))]
    stride = ["i32 16"] if pointers else []
    kinds = ", ".join(part.split()[0] for part in (*parameters, *stride))
    several = "{" + ", ".join(["i32"] * results) + "}" if results else "void"
    whole = f"<{results} x i32>" if results else "void"
    call = f"call {several} @llvm.nvvm.wmma.m16n16k16.{intrinsic}({', '.join([*parameters, *stride])})"
    lines = [f"declare {several} @llvm.nvvm.wmma.m16n16k16.{intrinsic}({kinds})"]
    lines += [
        f"define internal {whole} @{WMMA}{name}({', '.join(parameters)}) alwaysinline convergent nounwind {{"
    ]
    if not results:
        return "\n".join([*lines, f"  {call}", "  ret void", "}", ""])
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
