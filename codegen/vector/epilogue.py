"""Epilogues as TIR: the steps of `secateur.ir.elementwise` on a vector in registers.

Transcendental functions are polynomials of vector operations, so that kernels of
networks call no mathematics library; only sine, cosine and remainders do, lane by
lane. Relative error is below 1e-6 (`pow`: 2e-6).
TVM is imported only when code is built.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

from secateur.ir.elementwise import Epilogue

from ..tir import Registers, T, keeps_nan, larger, smaller, splat

Expr = Any
Operand = Callable[[int], Expr]

# erfc(x) exp(x^2) for x >= 0 as a polynomial in 1 / (1 + x/2), lowest power first:
# Chebyshev fit on 1 <= x <= 4.25, where it leaves erf an error of 1.2e-10.
_ERFC = (
    -0.000150954999, 0.284865279, 0.259983589, 0.346774262,
    -0.101469762, 0.560598046, -0.469355689, 0.118805188,
)  # fmt: skip


class Functions(Protocol):
    """The functions that an epilogue is made of, on vectors of one type."""

    def unary(self, op: str, x: Expr, params: tuple[float, ...]) -> Expr: ...

    def binary(self, op: str, x: Expr, y: Expr) -> Expr: ...


def apply(epilogue: Epilogue, value: Expr, operand: Operand, functions: Functions) -> Expr:
    """The steps in order on `value`; `operand(i)` is the vector of the i-th extra operand."""
    taken = 0
    for step in epilogue:
        if step.function.arity == 2:
            value = functions.binary(step.op, value, operand(taken))
            taken += 1
        else:
            value = functions.unary(step.op, value, step.params)
    return value


class Vector:
    """float32 functions on TIR vectors of `lanes` (scalars where 1).

    Where an argument is used twice it is first put into a register (`hold`), as TIR
    expressions are trees. Constants stand on the left of min and max, because the
    right operand is the one whose NaN survives.
    """

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes

    def unary(self, op: str, x: Expr, params: tuple[float, ...]) -> Expr:
        return getattr(self, f"_{op}")(self.hold(x), *params)

    def binary(self, op: str, x: Expr, y: Expr) -> Expr:
        return getattr(self, f"_{op}")(self.hold(x), self.hold(y))

    def const(self, value: float, dtype: str = "float32") -> Expr:
        return splat(value, self.lanes, dtype)

    def factor(self, value: float) -> Expr:
        """A constant to multiply by: in a register, as TIR takes 0 x to be 0 where x is NaN too."""
        return self.hold(self.const(value))

    def hold(self, x: Expr, dtype: str = "float32") -> Expr:
        register = Registers(1, self.lanes, dtype)
        register[0] = x
        return register[0]

    def where(self, condition: Expr, yes: Expr, no: Expr) -> Expr:
        return T.Select(condition, yes, no)

    def cast(self, x: Expr, dtype: str) -> Expr:
        return x.astype(dtype if self.lanes == 1 else f"{dtype}x{self.lanes}")

    def bits(self, x: Expr, dtype: str) -> Expr:
        return T.reinterpret(dtype if self.lanes == 1 else f"{dtype}x{self.lanes}", x)

    def polynomial(self, x: Expr, coefficients: tuple[float, ...], dtype: str = "float32") -> Expr:
        """Horner's rule; lowest power first."""
        total = self.const(coefficients[-1], dtype)
        for c in reversed(coefficients[:-1]):
            total = T.fma(total, x, self.const(c, dtype))
        return total

    # Simple functions

    def _relu(self, x: Expr) -> Expr:
        return larger(self.const(0.0), x, self.lanes)

    def _leaky_relu(self, x: Expr, alpha: float) -> Expr:
        return self.where(x >= self.const(0.0), x, x * self.factor(alpha))

    def _clip(self, x: Expr, low: float, high: float) -> Expr:
        if low > -math.inf:
            x = larger(self.const(low), x, self.lanes)
        return x if high == math.inf else smaller(self.const(high), x, self.lanes)

    def _hard_sigmoid(self, x: Expr, alpha: float, beta: float) -> Expr:
        return self._clip(T.fma(x, self.const(alpha), self.const(beta)), 0.0, 1.0)

    def _hard_swish(self, x: Expr) -> Expr:
        return x * self._hard_sigmoid(x, 1 / 6, 0.5)

    def _neg(self, x: Expr) -> Expr:
        return x * self.const(-1.0)

    def _abs(self, x: Expr) -> Expr:
        return self.bits(self.bits(x, "int32") & self.const(0x7FFFFFFF, "int32"), "float32")

    def _sqrt(self, x: Expr) -> Expr:
        return T.sqrt(x)

    def _add(self, x: Expr, y: Expr) -> Expr:
        return x + y

    def _sub(self, x: Expr, y: Expr) -> Expr:
        return x - y

    def _rsub(self, x: Expr, y: Expr) -> Expr:
        return y - x

    def _mul(self, x: Expr, y: Expr) -> Expr:
        return x * y

    def _div(self, x: Expr, y: Expr) -> Expr:
        return x / y

    def _rdiv(self, x: Expr, y: Expr) -> Expr:
        return y / x

    def _min(self, x: Expr, y: Expr) -> Expr:
        least = smaller(x, y, self.lanes)
        return least if keeps_nan(self.lanes) else self.where(self._nan(x), x, least)

    def _max(self, x: Expr, y: Expr) -> Expr:
        largest = larger(x, y, self.lanes)
        return largest if keeps_nan(self.lanes) else self.where(self._nan(x), x, largest)

    def _prelu(self, x: Expr, y: Expr) -> Expr:
        return self.where(x >= self.const(0.0), x, x * y)

    # Steps and remainders

    def _softsign(self, x: Expr) -> Expr:
        return x / (self.const(1.0) + self._abs(x))

    def _thresholded_relu(self, x: Expr, alpha: float) -> Expr:
        return self.where(x > self.const(alpha), x, self.const(0.0))

    def _shrink(self, x: Expr, limit: float, bias: float) -> Expr:
        low = self.where(x < self.const(-limit), x + self.const(bias), self.const(0.0))
        return self.where(x > self.const(limit), x - self.const(bias), low)

    def _sign(self, x: Expr) -> Expr:
        down = self.where(x < self.const(0.0), self.const(-1.0), x)
        return self.where(x > self.const(0.0), self.const(1.0), down)

    def _round(self, x: Expr) -> Expr:
        """From 2^23 on every float32 is whole; adding 2^23 to smaller ones rounds them, halves to even."""
        whole, size = self.const(8388608.0), self.hold(self._abs(x))
        nearest = self.hold(self.hold(size + whole) - whole)
        return self.where(size < whole, self._with_sign_of(x, nearest), x)

    def _floor(self, x: Expr) -> Expr:
        nearest = self.hold(self._round(x))
        return self.where(nearest > x, nearest - self.const(1.0), nearest)

    def _ceil(self, x: Expr) -> Expr:
        """The sign is that of x: the ceiling of -0.5 is -0."""
        nearest = self.hold(self._round(x))
        return self._with_sign_of(x, self.hold(self.where(nearest < x, nearest + self.const(1.0), nearest)))

    def _with_sign_of(self, x: Expr, size: Expr) -> Expr:
        """`size` with the sign bit of x set where x has it."""
        sign = self.bits(x, "int32") & self.const(-2147483648, "int32")
        return self.bits(self.bits(size, "int32") | sign, "float32")

    def _fmod(self, x: Expr, y: Expr) -> Expr:
        return self._from_library("fmodf", x, y)

    def _mod(self, x: Expr, y: Expr) -> Expr:
        rest = self.hold(self._fmod(x, y))
        zero = self.const(0.0)
        apart = ((rest < zero) & (y > zero)) | ((rest > zero) & (y < zero))
        signed = self.hold(self.where(rest == zero, self._with_sign_of(y, zero), rest))
        return self.where(apart, rest + y, signed)

    def _sin(self, x: Expr) -> Expr:
        return self._from_library("sinf", x)

    def _cos(self, x: Expr) -> Expr:
        return self._from_library("cosf", x)

    def _from_library(self, name: str, *operands: Expr) -> Expr:
        """Lane by lane, of the C library: no short sequence of operations is right for every float32."""
        if self.lanes == 1:
            return T.call_pure_extern("float32", name, *operands)
        results = Registers(self.lanes, 1)
        for lane in range(self.lanes):
            taken = [T.Shuffle([x], [lane]) for x in operands]
            results[lane] = T.call_pure_extern("float32", name, *taken)
        return T.Shuffle([results[i] for i in range(self.lanes)], list(range(self.lanes)))

    # Exponential family

    def _reduced(self, x: Expr) -> tuple[Expr, Expr]:
        """(n, r): x = n ln 2 + r, |r| <= ln 2 / 2, both float32; x within +-104."""
        rounder = 12582912.0  # 1.5 * 2^23: adding and subtracting it rounds to the nearest integer
        x = self.hold(T.max(self.const(-104.0), T.min(self.const(104.0), x)))
        shifted = self.hold(T.fma(x, self.const(1 / math.log(2)), self.const(rounder)))
        n = self.hold(shifted - self.const(rounder))
        high = T.fma(n, self.const(-0.693359375), x)
        return n, self.hold(T.fma(n, self.const(0.693359375 - math.log(2)), high))

    def _scaled(self, x: Expr, n: Expr) -> Expr:
        """x 2^n in two steps, so that the ends of the range neither wrap nor flush."""
        half = self.hold(self.cast(n, "int32") >> self.const(1, "int32"), "int32")
        rest = self.cast(n, "int32") - half
        return x * self._power_of_two(half) * self._power_of_two(rest)

    def _power_of_two(self, n: Expr) -> Expr:
        return self.bits((n + self.const(127, "int32")) << self.const(23, "int32"), "float32")

    def _exp(self, x: Expr) -> Expr:
        n, r = self._reduced(x)
        result = self._scaled(self.polynomial(r, tuple(1 / math.factorial(k) for k in range(8))), n)
        return self.where(self._nan(x), x, result)

    def _expm1(self, x: Expr) -> Expr:
        """e^x - 1 without cancellation near zero; x at most 40."""
        n, r = self._reduced(x)
        p = self.polynomial(r, tuple(1 / math.factorial(k + 1) for k in range(8))) * r
        scale = self.hold(self._scaled(self.const(1.0), n))
        return self.where(self._nan(x), x, T.fma(scale, p, scale - self.const(1.0)))

    def _elu(self, x: Expr, alpha: float) -> Expr:
        return self.where(
            x >= self.const(0.0), x, self.factor(alpha) * self._expm1(T.min(self.const(0.0), x))
        )

    def _sigmoid(self, x: Expr) -> Expr:
        return self.const(1.0) / (self.const(1.0) + self._exp(self.hold(self._neg(x))))

    def _tanh(self, x: Expr) -> Expr:
        e = self.hold(self._expm1(self.hold(self._clip(x, -10.0, 10.0) * self.const(2.0))))
        return e / (e + self.const(2.0))

    def _log(self, x: Expr) -> Expr:
        tiny = x < self.const(1.1754944e-38)
        scaled = self.hold(self.where(tiny, x * self.const(8388608.0), x))
        exponent, mantissa = self._split(scaled)
        exponent = self.where(tiny, exponent - self.const(23.0), exponent)
        result = T.fma(exponent, self.const(math.log(2)), self._log_near_one(mantissa))
        result = self.where(x == self.const(0.0), self.const(-math.inf), result)
        result = self.hold(self.where(self._finite(x), result, x))
        return self.where(x < self.const(0.0), self.const(math.nan), result)

    def _nan(self, x: Expr) -> Expr:
        """By its bits: TVM takes x != x to be false."""
        return (self.bits(x, "int32") & self.const(0x7FFFFFFF, "int32")) > self.const(0x7F800000, "int32")

    def _finite(self, x: Expr) -> Expr:
        return (self.bits(x, "int32") & self.const(0x7F800000, "int32")) != self.const(0x7F800000, "int32")

    def _split(self, x: Expr) -> tuple[Expr, Expr]:
        """(exponent, mantissa) of a positive normal x, mantissa in [sqrt(1/2), sqrt(2))."""
        offset = self.const(0x3F3504F3, "int32")  # the bits of sqrt(1/2)
        raw = self.hold(self.bits(x, "int32") - offset, "int32")
        exponent = self.hold(self.cast(raw >> self.const(23, "int32"), "float32"))
        mantissa = (raw & self.const(0x007FFFFF, "int32")) + offset
        return exponent, self.hold(self.bits(mantissa, "float32"))

    def _log_near_one(self, m: Expr, dtype: str = "float32", terms: int = 6) -> Expr:
        """ln m = 2 artanh((m - 1) / (m + 1)) for m in [sqrt(1/2), sqrt(2)]."""
        one = self.const(1.0, dtype)
        s = self.hold((m - one) / (m + one), dtype)
        return (
            self.polynomial(self.hold(s * s, dtype), tuple(2 / (2 * k + 1) for k in range(terms)), dtype) * s
        )

    def _softplus(self, x: Expr) -> Expr:
        y = self.hold(self._exp(self.hold(self._neg(self._abs(x)))))
        u = self.hold(self.const(1.0) + y)
        gap = self.hold(u - self.const(1.0))  # what of y survived the addition
        log1p = self.where(gap == self.const(0.0), y, self._log(u) * (y / gap))
        return T.max(self.const(0.0), x) + log1p

    def _silu(self, x: Expr) -> Expr:
        return x / (self.const(1.0) + self._exp(self.hold(self._neg(x))))

    def _mish(self, x: Expr) -> Expr:
        return x * self._tanh(self.hold(self._softplus(x)))

    def _erf(self, x: Expr) -> Expr:
        a = self.hold(T.min(self.const(4.2), self._abs(x)))
        square = self.hold(a * a)
        series = tuple(
            2 / math.sqrt(math.pi) * (-1) ** k / (math.factorial(k) * (2 * k + 1)) for k in range(12)
        )
        near = self.polynomial(square, series) * a
        t = self.hold(self.const(1.0) / T.fma(a, self.const(0.5), self.const(1.0)))
        tail = self.polynomial(t, _ERFC) * self._exp(self.hold(self._neg(square)))
        positive = self.hold(self.where(a < self.const(1.0), near, self.const(1.0) - tail))
        result = self.where(x < self.const(0.0), self._neg(positive), positive)
        return self.where(self._nan(x), x, result)

    def _gelu(self, x: Expr) -> Expr:
        return x * self.const(0.5) * (self.const(1.0) + self._erf(self.hold(x * self.const(math.sqrt(0.5)))))

    def _gelu_tanh(self, x: Expr) -> Expr:
        inner = self.const(math.sqrt(2 / math.pi)) * x * T.fma(x * x, self.const(0.044715), self.const(1.0))
        return x * self.const(0.5) * (self.const(1.0) + self._tanh(self.hold(inner)))

    def _pow(self, x: Expr, y: Expr) -> Expr:
        """|x|^y = e^(y ln |x|), the product in float64; the sign and the special cases as C's powf."""
        size = self.hold(self._abs(x))
        product = self.hold(self.cast(y, "float64") * self._log_double(size), "float64")
        result = self.hold(self._exp_double(product))
        zero, one = self.const(0.0), self.const(1.0)
        result = self.hold(self.where(size == zero, self.where(y > zero, zero, self.const(math.inf)), result))
        result = self.hold(self.where(size == self.const(math.inf), self.where(y > zero, size, zero), result))
        result = self.hold(self.where(size == one, one, result))
        result = self.hold(self._signed_power(x, y, result))
        return self.where((y == zero) | (x == one), one, result)

    def _signed_power(self, x: Expr, y: Expr, magnitude: Expr) -> Expr:
        """Odd whole powers keep the sign of x, of zero and infinity too; else a negative x has no power."""
        limited = self.hold(self._clip(y, -16777216.0, 16777216.0))  # beyond, every float32 is even
        whole = self.hold(self.cast(limited, "int32"), "int32")
        integral = self.cast(whole, "float32") == limited
        odd = integral & ((whole & self.const(1, "int32")) == self.const(1, "int32"))
        signed = self.where(odd, self._neg(magnitude), magnitude)
        signed = self.hold(self.where(self.bits(x, "int32") < self.const(0, "int32"), signed, magnitude))
        fraction = (
            (self.cast(whole, "float32") != limited) & (x < self.const(0.0)) & (x > self.const(-math.inf))
        )
        signed = self.hold(self.where(fraction, self.const(math.nan), signed))
        signed = self.hold(self.where(self._nan(x), x, signed))
        return self.where(self._nan(y), y, signed)

    def _rpow(self, x: Expr, y: Expr) -> Expr:
        return self._pow(y, x)

    def _log_double(self, x: Expr) -> Expr:
        tiny = x < self.const(1.1754944e-38)
        exponent, mantissa = self._split(self.hold(self.where(tiny, x * self.const(8388608.0), x)))
        exponent = self.where(tiny, exponent - self.const(23.0), exponent)
        near = self._log_near_one(self.hold(self.cast(mantissa, "float64"), "float64"), "float64", 8)
        return T.fma(self.cast(exponent, "float64"), self.const(math.log(2), "float64"), near)

    def _exp_double(self, x: Expr) -> Expr:
        """e^x as float32 of a float64 x: the integer part of x / ln 2 apart from the rest."""
        limit = self.const(104.0, "float64")
        x = self.hold(T.max(limit * self.const(-1.0, "float64"), T.min(limit, x)), "float64")
        rounder = self.const(12582912.0)
        shifted = self.hold(self.cast(x, "float32") * self.const(1 / math.log(2)) + rounder)
        n = self.hold(shifted - rounder)
        r = T.fma(self.cast(n, "float64"), self.const(-math.log(2), "float64"), x)
        p = self.polynomial(
            self.hold(self.cast(r, "float32")), tuple(1 / math.factorial(k) for k in range(8))
        )
        return self._scaled(p, n)
