"""The element-wise functions on TIR vectors of any element type.

float32 is `codegen.vector.epilogue`'s; float16 is computed in float32 and rounded
after every step; float64 calls the mathematics library, element by element;
integers wrap around.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..tir import Registers, T, keeps_nan, larger, smaller, splat
from .epilogue import Vector

Expr = Any

VECTOR_TYPES = ("float32", "float16", "int8", "uint8", "int16", "uint16", "int32", "uint32")


def lanes_for(dtypes: tuple[str, ...], lanes: int) -> int:
    """Vector length of code on these types: 1 where one of them is 64 bits wide."""
    return lanes if all(d in VECTOR_TYPES for d in dtypes) else 1


def vector_type(dtype: str, lanes: int) -> str:
    return dtype if lanes == 1 else f"{dtype}x{lanes}"


def convert(x: Expr, source: str, to: str, lanes: int) -> Expr:
    """`x` as another type: floats truncate; narrow integers come from the low bits of int32."""
    if source == to:
        return x
    for middle in _between(source, to):
        x = x.astype(vector_type(middle, lanes))
    return x.astype(vector_type(to, lanes))


def _between(source: str, to: str) -> tuple[str, ...]:
    half = ("float32",) if "float16" in (source, to) and "float32" not in (source, to) else ()
    narrow = {"int8": "int32", "uint8": "int32", "int16": "int32", "uint16": "int32", "uint32": "int64"}
    return (*half, narrow[to]) if source.startswith("float") and to in narrow else half


def start_value(dtype: str) -> float:
    """Zero, of the kind that the type wants."""
    return 0.0 if dtype.startswith("float") else 0


def multiply_add(a: Expr, b: Expr, total: Expr, dtype: str) -> Expr:
    """a b + total, fused where the type has such an operation."""
    return T.fma(a, b, total) if dtype.startswith("float") else a * b + total


def is_zero(x: Expr, dtype: str, lanes: int) -> Expr:
    """Whether each element is zero; NaN is not (in TIR, `!=` of a NaN is false too, so it cannot say)."""
    return x == splat(0, lanes, dtype)


def extreme(kind: str, total: Expr, value: Expr, dtype: str, lanes: int) -> Expr:
    """The larger (`kind` "max") or smaller ("min") of a register and a value; a NaN of either stays.

    TIR's own maximum and minimum keep a NaN on their right alone.
    """
    chosen = T.max if kind == "max" else T.min
    if not dtype.startswith("float"):
        return chosen(value, total)
    if keeps_nan(lanes, dtype):
        return (larger if kind == "max" else smaller)(total, value, lanes, dtype)
    held = Registers(1, lanes, dtype)
    held[0] = value
    return T.Select(T.isnan(held[0]), held[0], chosen(held[0], total))


def from_truth(condition: Expr, lanes: int) -> Expr:
    """0 or 1 as bytes."""
    return condition.astype(vector_type("uint8", lanes))


class Numeric:
    """Functions on vectors of `lanes` elements of `dtype`."""

    def __init__(self, dtype: str, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        self._through_float = dtype in ("float32", "float16")
        self._vector = Vector(lanes)
        self._plain = Plain(dtype, lanes)

    def unary(self, op: str, x: Expr, params: tuple[float, ...] = ()) -> Expr:
        if self._through_float:
            return self._back(self._vector.unary(op, self._single(x), params))
        return self._plain.unary(op, x, params)

    def binary(self, op: str, x: Expr, y: Expr) -> Expr:
        if self._through_float:
            return self._back(self._vector.binary(op, self._single(x), self._single(y)))
        return self._plain.binary(op, x, y)

    def _single(self, x: Expr) -> Expr:
        return convert(x, self.dtype, "float32", self.lanes)

    def _back(self, x: Expr) -> Expr:
        return convert(x, "float32", self.dtype, self.lanes)


class Plain:
    """float64 and integer functions by TIR's own operations."""

    def __init__(self, dtype: str, lanes: int) -> None:
        self.dtype, self.lanes = dtype, lanes
        self.floating = dtype.startswith("float")

    def const(self, value: float) -> Expr:
        if self.floating:
            return splat(float(value), self.lanes, self.dtype)
        info = np.iinfo(self.dtype)
        limited = info.max if value == math.inf else info.min if value == -math.inf else int(value)
        return splat(max(int(info.min), min(int(info.max), limited)), self.lanes, self.dtype)

    def factor(self, value: float) -> Expr:
        """A constant to multiply by: in a register, as TIR takes 0 x to be 0 where x is NaN too."""
        return self.hold(self.const(value))

    def hold(self, x: Expr) -> Expr:
        register = Registers(1, self.lanes, self.dtype)
        register[0] = x
        return register[0]

    def where(self, condition: Expr, yes: Expr, no: Expr) -> Expr:
        return T.Select(condition, yes, no)

    def unary(self, op: str, x: Expr, params: tuple[float, ...]) -> Expr:
        function: Callable[..., Expr] = getattr(self, f"_{op}")
        return function(self.hold(x), *params)

    def binary(self, op: str, x: Expr, y: Expr) -> Expr:
        function: Callable[..., Expr] = getattr(self, f"_{op}")
        return function(self.hold(x), self.hold(y))

    def _relu(self, x: Expr) -> Expr:
        return T.max(self.const(0), x)

    def _leaky_relu(self, x: Expr, alpha: float) -> Expr:
        return self.where(x >= self.const(0), x, x * self.factor(alpha))

    def _clip(self, x: Expr, low: float, high: float) -> Expr:
        return T.min(self.const(high), T.max(self.const(low), x))

    def _hard_sigmoid(self, x: Expr, alpha: float, beta: float) -> Expr:
        return self._clip(x * self.factor(alpha) + self.const(beta), 0.0, 1.0)

    def _hard_swish(self, x: Expr) -> Expr:
        return x * self._hard_sigmoid(x, 1 / 6, 0.5)

    def _neg(self, x: Expr) -> Expr:
        if self.dtype.startswith("uint"):
            return ~x + self.const(1)  # TIR folds 0 - x of an unsigned x to 0
        return x * self.const(-1) if self.floating else self.const(0) - x

    def _abs(self, x: Expr) -> Expr:
        return self.where(x > self.const(0), x, self.const(0) - x)

    def _sqrt(self, x: Expr) -> Expr:
        return T.sqrt(x)

    def _exp(self, x: Expr) -> Expr:
        return T.exp(x)

    def _log(self, x: Expr) -> Expr:
        return T.log(x)

    def _erf(self, x: Expr) -> Expr:
        return T.call_pure_extern("float64", "erf", x)

    def _tanh(self, x: Expr) -> Expr:
        return T.call_pure_extern("float64", "tanh", x)

    def _expm1(self, x: Expr) -> Expr:
        return T.call_pure_extern("float64", "expm1", x)

    def _log1p(self, x: Expr) -> Expr:
        return T.call_pure_extern("float64", "log1p", x)

    def _elu(self, x: Expr, alpha: float) -> Expr:
        return self.where(x >= self.const(0), x, self.factor(alpha) * self._expm1(T.min(self.const(0), x)))

    def _sigmoid(self, x: Expr) -> Expr:
        return self.const(1) / (self.const(1) + self._exp(self._neg(x)))

    def _softplus(self, x: Expr) -> Expr:
        return T.max(self.const(0), x) + self._log1p(self._exp(self._neg(self._abs(x))))

    def _silu(self, x: Expr) -> Expr:
        return x * self._sigmoid(x)

    def _mish(self, x: Expr) -> Expr:
        return x * self._tanh(self._softplus(x))

    def _gelu(self, x: Expr) -> Expr:
        return x * self.const(0.5) * (self.const(1) + self._erf(x * self.const(math.sqrt(0.5))))

    def _gelu_tanh(self, x: Expr) -> Expr:
        inner = self.const(math.sqrt(2 / math.pi)) * (x + self.const(0.044715) * x * x * x)
        return self.const(0.5) * x * (self.const(1) + self._tanh(inner))

    def _softsign(self, x: Expr) -> Expr:
        return x / (self.const(1) + self._abs(x))

    def _thresholded_relu(self, x: Expr, alpha: float) -> Expr:
        return self.where(x > self.const(alpha), x, self.const(0))

    def _shrink(self, x: Expr, limit: float, bias: float) -> Expr:
        low = self.where(x < self.const(-limit), x + self.const(bias), self.const(0))
        return self.where(x > self.const(limit), x - self.const(bias), low)

    def _sign(self, x: Expr) -> Expr:
        down = x if self.dtype.startswith("uint") else self.where(x < self.const(0), self.const(-1), x)
        return self.where(x > self.const(0), self.const(1), down)

    def _round(self, x: Expr) -> Expr:
        return T.call_pure_extern("float64", "rint", x)

    def _floor(self, x: Expr) -> Expr:
        return T.floor(x)

    def _ceil(self, x: Expr) -> Expr:
        return T.ceil(x)

    def _sin(self, x: Expr) -> Expr:
        return T.call_pure_extern("float64", "sin", x)

    def _cos(self, x: Expr) -> Expr:
        return T.call_pure_extern("float64", "cos", x)

    def _add(self, x: Expr, y: Expr) -> Expr:
        return x + y

    def _sub(self, x: Expr, y: Expr) -> Expr:
        return x - y

    def _rsub(self, x: Expr, y: Expr) -> Expr:
        return y - x

    def _mul(self, x: Expr, y: Expr) -> Expr:
        return x * y

    def _div(self, x: Expr, y: Expr) -> Expr:
        if self.floating:
            return x / y
        zero = self.const(0)
        quotient = T.truncdiv(x, self._divisor(y))
        if self.dtype.startswith("int"):
            quotient = self.where(y == self.const(-1), zero - x, quotient)
        return self.where(y == zero, zero, quotient)

    def _divisor(self, y: Expr) -> Expr:
        """y, or 1 for what no integer can be divided by: 0, and -1, by which the lowest overflows."""
        refused = y == self.const(0)
        if self.dtype.startswith("int"):
            refused = refused | (y == self.const(-1))
        return self.hold(self.where(refused, self.const(1), y))

    def _rdiv(self, x: Expr, y: Expr) -> Expr:
        return self._div(y, x)

    def _fmod(self, x: Expr, y: Expr) -> Expr:
        if self.floating:
            return T.call_pure_extern("float64", "fmod", x, y)
        return T.truncmod(x, self._divisor(y))

    def _mod(self, x: Expr, y: Expr) -> Expr:
        rest, zero = self.hold(self._fmod(x, y)), self.const(0)
        if self.dtype.startswith("uint"):
            return rest
        apart = ((rest < zero) & (y > zero)) | ((rest > zero) & (y < zero))
        if self.floating:  # a zero has the sign of y
            rest = self.hold(self.where((rest == zero) & (y < zero), self.const(-0.0), rest))
        return self.where(apart, rest + y, rest)

    def _min(self, x: Expr, y: Expr) -> Expr:
        return self._or_nan(x, self.where(x < y, x, y))

    def _max(self, x: Expr, y: Expr) -> Expr:
        return self._or_nan(x, self.where(x > y, x, y))

    def _or_nan(self, x: Expr, value: Expr) -> Expr:
        """`value`, or `x` where that is NaN; a NaN of `y` came through, as comparisons with it are false."""
        return self.where(T.isnan(x), x, value) if self.floating else value

    def _prelu(self, x: Expr, y: Expr) -> Expr:
        return self.where(x >= self.const(0), x, x * y)

    def _pow(self, x: Expr, y: Expr) -> Expr:
        if self.floating:
            return T.pow(x, y)
        return self._integer_power(x, y)

    def _integer_power(self, x: Expr, y: Expr) -> Expr:
        """By squaring, bit after bit of `y`, which is not negative."""
        one = self.const(1)
        result, square, rest = (Registers(1, self.lanes, self.dtype) for _ in range(3))
        result[0], square[0], rest[0] = one, x, y
        with T.serial(0, int(np.iinfo(self.dtype).bits)):
            odd = (rest[0] & one) == one
            result[0] = self.where(odd, result[0] * square[0], result[0])
            square[0] = square[0] * square[0]
            rest[0] = rest[0] >> one
        return result[0]

    def _rpow(self, x: Expr, y: Expr) -> Expr:
        return self._pow(y, x)
