"""Matrix instructions on bytes: how kernels call them, and what LLVM is told of them.

TIR has no results of several values, so a kernel calls a function of ours that gives a vector.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ...tir import T

Expr = Any

PREFIX = "secateur_mma_"
_DECLARED = re.compile(rf"^declare <4 x i32> @{PREFIX}(k\d+)_(\w+)\(.*$", flags=re.M)
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


def defined(llvm_ir: str) -> str:
    """The text with a definition for each function of `multiply` that it calls."""
    return _DECLARED.sub(lambda found: _definition(found[1], found[2]), llvm_ir)


def _definition(depth: str, signs: str) -> str:
    count = sum(_REGISTERS[depth]) + 4
    moves, before = [], "undef"
    for i in range(4):
        moves += [
            f"  %c{i} = extractvalue {{i32, i32, i32, i32}} %r, {i}",
            f"  %v{i + 1} = insertelement <4 x i32> {before}, i32 %c{i}, i32 {i}",
        ]
        before = f"%v{i + 1}"
    return _DEFINITION.format(
        prefix=PREFIX,
        depth=depth,
        signs=signs,
        kinds="s8" if signs == "s" else "s8.u8",
        types=", ".join(["i32"] * count),
        parameters=", ".join(f"i32 %a{i}" for i in range(count)),
        moves="\n".join(moves),
    )
