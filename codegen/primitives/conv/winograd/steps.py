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
    """Every row is a sum or difference of two shared parts, of which none doubles a term alone, so that bytes
    become words as they are added. -x / sqrt 2 rounds as x / sqrt 2: x, below 8192, is never half way.
    """

    def held(value: Expr) -> Expr:
        return hold(value, fixed.lanes, "int16")

    even, odd, by_root = held(d[4] - d[2]), held(d[1] - d[3]), splat(ROOT_FACTOR, fixed.lanes, "int16")
    a, e = held(even + d[4]), held(even - d[2])
    b, o = held(odd - d[3]), held(odd + d[1])
    start, end = held(e + d[0]), held(b + d[5])
    a, o = (held(fixed.product(v, by_root)) for v in (a, o))
    return [(start + start) - d[2], a - b, a + b, e - o, e + o, (end + end) - d[3]]


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
