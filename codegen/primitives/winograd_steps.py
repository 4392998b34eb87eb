"""Straight-line code of the transforms of F(2, 3) and F(4, 3) in exact integers and in float32.

The matrices are those of `ir.winograd`; the order of float additions is that of
`ir/reference/winograd.py`, to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Expr = Any


def input_steps(d: Sequence[Expr], lanes: int) -> list[Expr]:
    """B^T d of 4 or 6 vectors of int16."""
    return _input_two(d) if len(d) == 4 else _input_four(d, lanes)


def _input_two(d: Sequence[Expr]) -> list[Expr]:
    return [d[2] - d[0], d[1] + d[2], d[2] - d[1], d[3] - d[1]]


def _input_four(d: Sequence[Expr], lanes: int) -> list[Expr]:
    """Every row is a sum or difference of two of the shared parts."""
    four = _constant(4, lanes)
    even, odd = _hold(d[4] - d[2] * four, lanes), _hold(d[3] - d[1] * four, lanes)
    near, twice = _hold(d[4] - d[2], lanes), _hold(d[3] - d[1], lanes)
    twice = _hold(twice + twice, lanes)
    first = (d[0] - d[2]) * four + near
    last = (d[5] - d[3]) - (twice + twice)
    return [first, even + odd, even - odd, near + twice, near - twice, last]


def output_steps(f: Sequence[Expr], lanes: int, fused: bool) -> list[Expr]:
    """A^T f of 4 vectors of float32 to 2, or of 6 to 4.

    `fused` multiplies and adds at once, which is the same to the bit, as products by 2, 4 and 8 are exact.
    """
    near, odd = _hold(f[1] + f[2], lanes, "float32"), _hold(f[1] - f[2], lanes, "float32")
    if len(f) == 4:
        return [f[0] + near, odd + f[3]]
    far, wide = _hold(f[3] + f[4], lanes, "float32"), _hold(f[3] - f[4], lanes, "float32")
    return [
        (f[0] + near) + far,
        _add_scaled(odd, wide, 2.0, lanes, fused),
        _add_scaled(near, far, 4.0, lanes, fused),
        _hold(_add_scaled(odd, wide, 8.0, lanes, fused), lanes, "float32") + f[5],
    ]


def _add_scaled(a: Expr, b: Expr, scale: float, lanes: int, fused: bool) -> Expr:
    from ..tvm_adapter import T

    factor = _constant(scale, lanes, "float32")
    return T.fma(b, factor, a) if fused else a + b * factor


def _constant(value: float, lanes: int, dtype: str = "int16") -> Expr:
    from ..tvm_adapter import splat

    return splat(value, lanes, dtype)


def _hold(value: Expr, lanes: int, dtype: str = "int16") -> Expr:
    from .shuffles import hold

    return hold(value, lanes, dtype)
