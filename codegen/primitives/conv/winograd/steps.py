"""Straight-line code of the transforms of F(2, 3) and F(4, 3) in exact integers and in float32.

The steps and the order of float additions are those of `ir/reference/winograd.py`, to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from secateur.codegen.tir import T, splat
from secateur.codegen.vector.fixed_point import FixedPoint
from secateur.codegen.vector.shuffles import hold

Expr = Any

ROOT_FACTOR = 23170  # 2^15 / sqrt 2
FACTORS = (0.5, 0.25, 2**0.5, 0.5**0.5)


def input_steps(d: Sequence[Expr], fixed: FixedPoint) -> list[Expr]:
    """B^T d of 4 or 6 vectors of int16."""
    return _input_two(d) if len(d) == 4 else _input_four(d, fixed)


def _input_two(d: Sequence[Expr]) -> list[Expr]:
    return [d[2] - d[0], d[1] + d[2], d[2] - d[1], d[3] - d[1]]


def _input_four(d: Sequence[Expr], fixed: FixedPoint) -> list[Expr]:
    """Every row is a sum or difference of two of the shared parts."""
    lanes, by_root = fixed.lanes, splat(ROOT_FACTOR, fixed.lanes, "int16")
    two, three = hold(d[2] + d[2], lanes, "int16"), hold(d[3] + d[3], lanes, "int16")
    a, b = hold(d[4] + d[4] - d[2], lanes, "int16"), hold(three - d[1], lanes, "int16")
    e, o = hold(d[4] - two, lanes, "int16"), hold(d[3] - (d[1] + d[1]), lanes, "int16")
    start, end = d[0] - two, d[5] - three
    first, last = a + (start + start), (end + end) - o
    a, o = (hold(fixed.product(v, by_root), lanes, "int16") for v in (a, o))
    return [first, a + b, a - b, e + o, e - o, last]


def output_steps(f: Sequence[Expr], lanes: int, fused: bool, factors: Sequence[Expr] = ()) -> list[Expr]:
    """A^T f of 4 vectors of float32 to 2, or of 6 to 4; `factors` are `FACTORS`, each in all lanes.

    `fused` multiplies and adds at once, which is the same to the bit, as products by 1/2 and 1/4 are exact.
    """
    near, odd = hold(f[1] + f[2], lanes), hold(f[1] - f[2], lanes)
    if len(f) == 4:
        return [f[0] + near, odd + f[3]]
    half, quarter, root, by_root = factors or [splat(v, lanes) for v in FACTORS]
    far, wide = hold(f[3] + f[4], lanes), hold(f[3] - f[4], lanes)
    last = _add_scaled(odd, wide, quarter, fused) + f[5]
    return [
        _add_scaled(f[0], near, half, fused) + far,
        hold((odd + wide) * by_root, lanes),
        _add_scaled(near, far, half, fused),
        hold(last * root, lanes),
    ]


def _add_scaled(a: Expr, b: Expr, factor: Expr, fused: bool) -> Expr:
    return T.fma(b, factor, a) if fused else a + b * factor
