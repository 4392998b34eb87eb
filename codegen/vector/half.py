"""Epilogues in binary16: one instruction a step where there is one, else through float32.

Both round as the interpreter does: a sum or product of two binary16 is rounded once either way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..tir import Registers, larger, smaller, splat
from .numeric import Numeric

Expr = Any
DTYPE = "float16"


class Half:
    """Functions on vectors of `lanes` binary16.

    Constants stand on the left of min and max, because the right operand is the one whose NaN survives.
    """

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        self._wide = Numeric(DTYPE, lanes)
        self._unary: dict[str, Callable[..., Expr]] = {"relu": self._relu, "clip": self._clip}
        self._binary: dict[str, Callable[[Expr, Expr], Expr]] = {
            "add": lambda x, y: x + y, "sub": lambda x, y: x - y, "rsub": lambda x, y: y - x,
            "mul": lambda x, y: x * y,
        }  # fmt: skip

    def unary(self, op: str, x: Expr, params: tuple[float, ...]) -> Expr:
        function = self._unary.get(op)
        return function(self._held(x), *params) if function else self._wide.unary(op, x, params)

    def binary(self, op: str, x: Expr, y: Expr) -> Expr:
        function = self._binary.get(op)
        return function(self._held(x), self._held(y)) if function else self._wide.binary(op, x, y)

    def _held(self, x: Expr) -> Expr:
        register = Registers(1, self.lanes, DTYPE)
        register[0] = x
        return register[0]

    def _const(self, value: float) -> Expr:
        return splat(value, self.lanes, DTYPE)

    def _relu(self, x: Expr) -> Expr:
        return larger(self._const(0.0), x, self.lanes, DTYPE)

    def _clip(self, x: Expr, low: float, high: float) -> Expr:
        if low > -math.inf:
            x = larger(self._const(low), x, self.lanes, DTYPE)
        return x if high == math.inf else smaller(self._const(high), x, self.lanes, DTYPE)
