"""Element-wise functions, declared once, and the epilogues made of them.

A unary or binary float function of the operator set (`nn.relu`, `nn.add`, ...)
is a row of `FUNCTIONS`. The same row serves as a step of an epilogue: a chain
applied to an operator's result before it is stored, which is how activations,
biases and residual adds are fused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .types import DType

Array = NDArray[Any]


@dataclass(frozen=True)
class Function:
    """`name(x[, y], *params)`; `evaluate` is its meaning in NumPy, in the dtype of `x`."""

    name: str
    arity: int
    params: tuple[str, ...]
    defaults: tuple[float, ...]
    evaluate: Callable[..., Array]
    doc: str

    @property
    def work(self) -> int:
        """Vector operations that a kernel takes for a vector of results, roughly."""
        return _WORK.get(self.name, 1)

    def accepts(self, dtype: DType) -> bool:
        """Whether the function is defined on `dtype`: on floats, and on integers where it gives integers."""
        return dtype.is_float or (dtype != DType.BOOL and self.name in _ON_INTEGERS)


def _rounded_once(function: Callable[..., Any]) -> Callable[..., Array]:
    """`function` of arrays, computed in float64 and rounded once to the dtype of the first.

    NumPy's float32 exponentials, and what is made of them, differ by a step from one processor to another;
    tables of bytes and folded constants would show it.
    """

    def evaluate(*arrays: Array) -> Array:
        return np.asarray(function(*(a.astype(np.float64) for a in arrays))).astype(arrays[0].dtype)

    return evaluate


@_rounded_once
def _erf(x: Array) -> Array:
    return np.vectorize(math.erf, otypes=[x.dtype])(x) if x.size else x


@_rounded_once
def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


@_rounded_once
def _softplus(x: Array) -> Array:
    return np.add(np.maximum(x, 0), np.log1p(np.exp(-np.abs(x))))


_tanh, _expm1 = _rounded_once(np.tanh), _rounded_once(np.expm1)


def _gelu_tanh(x: Array) -> Array:
    found: Array = np.multiply(0.5 * x, 1 + _tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
    return found


def _power(x: Array, y: Array) -> Array:
    if np.issubdtype(x.dtype, np.integer):
        return _integer_power(x, y)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        return _rounded_once(np.power)(x, y)


def _integer_power(x: Array, y: Array) -> Array:
    """Modulo the integer's range; a negative exponent gives 1 / x^|y| rounded towards zero (0 for x = 0)."""
    positive = np.power(x, np.maximum(y, 0))
    inverse = np.where(np.abs(x) == 1, np.power(x, y & 1), 0)
    return np.where(y >= 0, positive, inverse).astype(x.dtype)


def _divide(x: Array, y: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        if np.issubdtype(x.dtype, np.integer):
            found: Array = (np.sign(x) * np.sign(y) * (np.abs(x) // np.where(y == 0, 1, np.abs(y)))).astype(
                x.dtype
            )
            return found
        return np.divide(x, y)


def _remainder(x: Array, y: Array) -> Array:
    """With the sign of x, as C's; an integer divided by zero leaves 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Array = np.fmod(x, y)
    return found


def _modulo(x: Array, y: Array) -> Array:
    """With the sign of y, as Python's; an integer divided by zero leaves 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Array = np.mod(x, y)
    return found


def _shrink(x: Array, limit: float, bias: float) -> Array:
    least, by = x.dtype.type(limit), x.dtype.type(bias)
    found: Array = np.where(x < -least, x + by, np.where(x > least, x - by, x.dtype.type(0)))
    return found


_ROWS: tuple[Function, ...] = (
    Function("relu", 1, (), (), lambda x: np.maximum(x, 0), "max(x, 0)"),
    Function(
        "leaky_relu",
        1,
        ("alpha",),
        (0.01,),
        lambda x, a: np.where(x >= 0, x, x * x.dtype.type(a)),
        "x, or alpha x below zero",
    ),
    Function(
        "elu",
        1,
        ("alpha",),
        (1.0,),
        lambda x, a: np.where(x >= 0, x, x.dtype.type(a) * _expm1(np.minimum(x, 0))),
        "x, or alpha (e^x - 1) below zero",
    ),
    Function(
        "clip",
        1,
        ("min", "max"),
        (-math.inf, math.inf),
        lambda x, lo, hi: np.minimum(np.maximum(x, x.dtype.type(lo)), x.dtype.type(hi)),
        "x limited to [min, max]; max wins where min > max",
    ),
    Function("sigmoid", 1, (), (), _sigmoid, "1 / (1 + e^-x)"),
    Function(
        "hard_sigmoid",
        1,
        ("alpha", "beta"),
        (0.2, 0.5),
        lambda x, a, b: np.clip(x.dtype.type(a) * x + x.dtype.type(b), 0, 1),
        "alpha x + beta limited to [0, 1]",
    ),
    Function(
        "hard_swish",
        1,
        (),
        (),
        lambda x: x * np.clip(x / x.dtype.type(6) + x.dtype.type(0.5), 0, 1),
        "x times (x/6 + 1/2 limited to [0, 1])",
    ),
    Function("tanh", 1, (), (), _tanh, "hyperbolic tangent"),
    Function("softplus", 1, (), (), _softplus, "ln(1 + e^x)"),
    Function("silu", 1, (), (), lambda x: x * _sigmoid(x), "x sigmoid(x)"),
    Function("mish", 1, (), (), lambda x: x * _tanh(_softplus(x)), "x tanh(softplus(x))"),
    Function(
        "gelu",
        1,
        (),
        (),
        lambda x: x * x.dtype.type(0.5) * (1 + _erf(x / x.dtype.type(math.sqrt(2)))),
        "x Phi(x), by erf",
    ),
    Function("gelu_tanh", 1, (), (), _gelu_tanh, "x Phi(x), by the tanh approximation"),
    Function("softsign", 1, (), (), lambda x: x / (1 + np.abs(x)), "x / (1 + |x|)"),
    Function(
        "thresholded_relu",
        1,
        ("alpha",),
        (1.0,),
        lambda x, a: np.where(x > x.dtype.type(a), x, x.dtype.type(0)),
        "x above alpha, else 0",
    ),
    Function(
        "shrink",
        1,
        ("lambd", "bias"),
        (0.5, 0.0),
        _shrink,
        "x drawn towards zero by bias; 0 from -lambd to lambd",
    ),
    Function("erf", 1, (), (), _erf, "Gauss error function"),
    Function("exp", 1, (), (), _rounded_once(np.exp), "e^x"),
    Function("log", 1, (), (), _rounded_once(np.log), "natural logarithm"),
    Function("sqrt", 1, (), (), np.sqrt, "square root"),
    Function("neg", 1, (), (), np.negative, "-x"),
    Function("abs", 1, (), (), np.abs, "|x|"),
    Function("sign", 1, (), (), np.sign, "-1, 0 or 1"),
    Function("floor", 1, (), (), np.floor, "the next integer below"),
    Function("ceil", 1, (), (), np.ceil, "the next integer above"),
    Function("round", 1, (), (), np.rint, "the nearest integer, of two the even one"),
    Function("sin", 1, (), (), _rounded_once(np.sin), "sine"),
    Function("cos", 1, (), (), _rounded_once(np.cos), "cosine"),
    Function("add", 2, (), (), np.add, "x + y"),
    Function("sub", 2, (), (), np.subtract, "x - y"),
    Function("rsub", 2, (), (), lambda x, y: np.subtract(y, x), "y - x"),
    Function("mul", 2, (), (), np.multiply, "x y"),
    Function("div", 2, (), (), _divide, "x / y; integers round towards zero"),
    Function("rdiv", 2, (), (), lambda x, y: _divide(y, x), "y / x"),
    Function("pow", 2, (), (), _power, "x to the y"),
    Function("rpow", 2, (), (), lambda x, y: _power(y, x), "y to the x"),
    Function("mod", 2, (), (), _modulo, "remainder of x / y with the sign of y"),
    Function("fmod", 2, (), (), _remainder, "remainder of x / y with the sign of x"),
    Function("min", 2, (), (), np.minimum, "the smaller"),
    Function("max", 2, (), (), np.maximum, "the larger"),
    Function("prelu", 2, (), (), lambda x, y: np.where(x >= 0, x, x * y), "x, or y x below zero"),
)

_ON_INTEGERS = {
    "relu",
    "neg",
    "abs",
    "sign",
    "add",
    "sub",
    "rsub",
    "mul",
    "div",
    "rdiv",
    "pow",
    "rpow",
    "mod",
    "fmod",
    "min",
    "max",
    "prelu",
}

_WORK = {
    "pow": 40, "rpow": 40, "mish": 60, "silu": 25, "softplus": 40, "gelu": 40, "erf": 35,
    "gelu_tanh": 30, "tanh": 24, "elu": 20, "sigmoid": 22, "exp": 16, "log": 16,
    "div": 4, "rdiv": 4, "sqrt": 6, "softsign": 5, "round": 5, "floor": 7, "ceil": 8,
    "sin": 100, "cos": 100, "fmod": 100, "mod": 100,
}  # fmt: skip

FUNCTIONS: dict[str, Function] = {row.name: row for row in _ROWS}


@dataclass(frozen=True)
class Step:
    """One step of an epilogue; a binary step takes the operator's next extra operand as `y`."""

    op: str
    params: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.op not in FUNCTIONS:
            raise ValueError(f"unknown epilogue step '{self.op}'")
        if len(self.params) != len(FUNCTIONS[self.op].params):
            raise ValueError(
                f"step '{self.op}' takes {len(FUNCTIONS[self.op].params)} parameters, got {self.params}"
            )

    @property
    def function(self) -> Function:
        return FUNCTIONS[self.op]


Epilogue = tuple[Step, ...]


def extra_operands(epilogue: Epilogue) -> int:
    """How many operands the epilogue consumes."""
    return sum(step.function.arity - 1 for step in epilogue)


def apply_epilogue(x: Array, epilogue: Epilogue, extras: Sequence[Array]) -> Array:
    """The epilogue's meaning: steps in order, each binary step with the next of `extras` (broadcast)."""
    rest = iter(extras)
    for step in epilogue:
        operands = [next(rest)] if step.function.arity == 2 else []
        x = step.function.evaluate(x, *operands, *step.params).astype(x.dtype)
    return x
