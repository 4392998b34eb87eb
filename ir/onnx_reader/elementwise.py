"""Element-wise operators, comparisons, logic and casts."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np

from ..graph import Value, constant_of
from ..types import DType, extents
from .node import Handler, Node, NodeError, UnsupportedError
from .tensors import dtype_of


def _binary(name: str) -> Handler:
    return lambda node: node.emit(name, [node.input(0), node.input(1)])


def _unary(name: str, **params: float) -> Handler:
    """A function of one operand; `params` are its attributes with ONNX's defaults."""
    return lambda node: node.emit(name, [node.input(0)], **{k: node.number(k, v) for k, v in params.items()})


def _chained(node: Node, name: str) -> Value:
    """A function of any number of operands, two by two."""
    return reduce(lambda a, b: node.emit(name, [a, b]), node.all_inputs())


def _chain(name: str) -> Handler:
    return lambda node: _chained(node, name)


def _scalar(node: Node, value: float, like: Value) -> Value:
    return node.constant(np.array(value).astype(like.type.dtype.numpy))


def mean(node: Node) -> Value:
    total = _chained(node, "add")
    return node.emit("div", [total, _scalar(node, len(node.inputs), total)])


def cast_to(node: Node, x: Value, dtype: DType) -> Value:
    return x if x.type.dtype == dtype else node.emit("cast", [x], dtype=dtype)


def power(node: Node) -> Value:
    """The result has the base's type; an exponent of another is raised to in a type for both."""
    x, y = node.input(0), node.input(1)
    if x.type.dtype == y.type.dtype:
        return node.emit("pow", [x, y])
    common = DType.of(np.result_type(x.type.dtype.numpy, y.type.dtype.numpy))
    found = node.emit("pow", [cast_to(node, x, common), cast_to(node, y, common)])
    return cast_to(node, found, x.type.dtype)


def _bound(node: Node, index: int, name: str, default: float) -> float | Value:
    """A bound of Clip: a number where it is known, else the value that will hold it."""
    if node.opset < 11:
        return node.number(name, default)
    value = node.optional(index)
    known = constant_of(value) if value else None
    if value is None or known is None:
        return value if value else default
    if known.size != 1:
        raise NodeError(f"'{name}' has shape {extents(known.shape)}, a scalar is needed")
    return float(known.reshape(()))


def identity(node: Node) -> Any:
    """Of a tensor, or of a sequence."""
    return node.inputs[0] if node.inputs and isinstance(node.inputs[0], tuple) else node.input(0)


def clip(node: Node) -> Value:
    x = node.input(0)
    low, high = _bound(node, 1, "min", -math.inf), _bound(node, 2, "max", math.inf)
    if isinstance(low, float) and isinstance(high, float) and x.type.dtype.is_float:
        return node.emit("clip", [x], min=low, max=high)
    above = x if low == -math.inf else node.emit("max", [x, _limit(node, x, node.optional(1), low)])
    return above if high == math.inf else node.emit("min", [above, _limit(node, x, node.optional(2), high)])


def _limit(node: Node, x: Value, given: Value | None, bound: float | Value) -> Value:
    if given is None:
        return _scalar(node, bound, x) if isinstance(bound, float) else bound
    return given


def gelu(node: Node) -> Value:
    kind = node.choice("approximate", "none", ("none", "tanh"))
    return node.emit("gelu" if kind == "none" else "gelu_tanh", [node.input(0)])


def reciprocal(node: Node) -> Value:
    x = node.input(0)
    return node.emit("rdiv", [x, _scalar(node, 1, x)])


def mod(node: Node) -> Value:
    """The remainder with the divisor's sign, before opset 28 of integers alone; `fmod`: the dividend's."""
    x, y, by_dividend = node.input(0), node.input(1), node.flag("fmod")
    if x.type.dtype.is_float and not by_dividend and node.opset < 28:
        raise NodeError("remainders of floats need fmod = 1")
    return node.emit("fmod" if by_dividend else "mod", [x, y])


def times(node: Node, x: Value, factor: float) -> Value:
    """`x` times a scalar of its type."""
    return node.emit("mul", [x, _scalar(node, factor, x)])


def selu(node: Node) -> Value:
    """gamma elu(x) {alpha}"""
    unscaled = node.emit("elu", [node.input(0)], alpha=node.number("alpha", 1.67326319217681884765625))
    return times(node, unscaled, node.number("gamma", 1.05070102214813232422))


def celu(node: Node) -> Value:
    """max(0, x) + min(0, alpha (e^(x / alpha) - 1)) is alpha elu(x / alpha)."""
    x, alpha = node.input(0), node.number("alpha", 1.0)
    if alpha == 0:
        raise NodeError("alpha is 0")
    shrunk = node.emit("div", [x, _scalar(node, alpha, x)])
    return times(node, node.emit("elu", [shrunk], alpha=1.0), alpha)


def swish(node: Node) -> Value:
    """x sigmoid(alpha x)"""
    x, alpha = node.input(0), node.number("alpha", 1.0)
    if alpha == 1:
        return node.emit("silu", [x])
    return node.emit("mul", [x, node.emit("sigmoid", [times(node, x, alpha)])])


def largest_number(dtype: DType) -> float:
    """Of a type of floats."""
    return float(np.nextafter(np.array(np.inf, dtype.numpy), np.array(0, dtype.numpy)))


def is_nan(node: Node) -> Value:
    """Of x, whether x <= infinity does not hold."""
    x = node.input(0)
    return node.emit("not", [node.emit("less_equal", [x, _scalar(node, math.inf, x)])])


def is_inf(node: Node) -> Value:
    """Whether x, -x or |x| (as the attributes ask) is greater than every number."""
    x = node.input(0)
    up, down = node.flag("detect_positive", True), node.flag("detect_negative", True)
    if not up and not down:
        return node.emit("expand", [node.constant(np.zeros((), np.bool_))], shape=x.type.shape)
    sized = node.emit("abs", [x]) if up and down else x if up else node.emit("neg", [x])
    return node.emit("greater", [sized, _scalar(node, largest_number(x.type.dtype), x)])


def cast(node: Node) -> Value:
    return cast_to(node, node.input(0), dtype_of(node.integer("to")))


def cast_like(node: Node) -> Value:
    return cast_to(node, node.input(0), node.input(1).type.dtype)


def where(node: Node) -> Value:
    return node.emit("where", [node.input(i) for i in range(3)])


def dropout(node: Node) -> list[Value]:
    """Inference: the input, and a mask that keeps everything."""
    training: Any = node.optional(2)
    if training is not None and bool(node.known(2, "training_mode").any()):
        raise NodeError("training mode is not supported; export the model for inference")
    x = node.input(0)
    mask = DType.BOOL if node.opset >= 10 else x.type.dtype
    keep = node.constant(np.ones((), mask.numpy))
    return [x, node.emit("expand", [keep], shape=x.type.shape)] if len(node.proto.output) > 1 else [x]


# Inverse and hyperbolic functions, of the ones that kernels have -------------------------------------------

_ARCTANGENT = (-0.3333314528, 0.1999355085, -0.1420889944, 0.1065626393, -0.0752896400, 0.0429096138,
               -0.0161657367, 0.0028662257)  # fmt: skip
"""arctan(x) / x - 1 for |x| <= 1 by powers of x^2, within 2e-8 (Abramowitz and Stegun, 4.4.49)."""


def _of_magnitude(function: Callable[[Node, Value], Value]) -> Handler:
    """An odd function, of what it is for numbers that are not negative."""

    def handler(node: Node) -> Value:
        x = node.input(0)
        if x.type.dtype not in (DType.F16, DType.F32):
            raise UnsupportedError(f"of {x.type.dtype.value}")
        return node.emit("mul", [function(node, node.emit("abs", [x])), node.emit("sign", [x])])

    return handler


def _plus(node: Node, x: Value, number: float) -> Value:
    return node.emit("add", [x, _scalar(node, number, x)])


def _minus(node: Node, number: float, x: Value) -> Value:
    return node.emit("sub", [_scalar(node, number, x), x])


def _log1p(node: Node, x: Value) -> Value:
    """log(1 + x), which is softplus(log x): exact for small x too."""
    return node.emit("softplus", [node.emit("log", [x])])


def _arctan(node: Node, a: Value) -> Value:
    """Above 1 it is pi / 2 - arctan(1 / a)."""
    large = node.emit("greater", [a, _scalar(node, 1, a)])
    x = node.emit("where", [large, node.emit("div", [_scalar(node, 1, a), a]), a])
    square = node.emit("mul", [x, x])
    total = _scalar(node, _ARCTANGENT[-1], a)
    for factor in reversed(_ARCTANGENT[:-1]):
        total = _plus(node, node.emit("mul", [square, total]), factor)
    near = node.emit("add", [x, node.emit("mul", [x, node.emit("mul", [square, total])])])
    return node.emit("where", [large, _minus(node, math.pi / 2, near), near])


def _arcsin(node: Node, a: Value) -> Value:
    """2 arctan(a / (1 + sqrt(1 - a^2))), the root taken of factors, which stay exact near 1."""
    product = node.emit("mul", [_minus(node, 1, a), _plus(node, a, 1)])
    root = node.emit("sqrt", [product])
    return times(node, _arctan(node, node.emit("div", [a, _plus(node, root, 1)])), 2)


def acos(node: Node) -> Value:
    """2 arctan(sqrt((1 - x) / (1 + x)))"""
    x = node.input(0)
    if x.type.dtype not in (DType.F16, DType.F32):
        raise UnsupportedError(f"of {x.type.dtype.value}")
    ratio = node.emit("div", [_minus(node, 1, x), _plus(node, x, 1)])
    return times(node, _arctan(node, node.emit("sqrt", [ratio])), 2)


def tan(node: Node) -> Value:
    x = node.input(0)
    return node.emit("div", [node.emit("sin", [x]), node.emit("cos", [x])])


def _sinh(node: Node, a: Value) -> Value:
    """(1 - e^-a) (1 + e^a) / 2"""
    rest = node.emit("neg", [node.emit("elu", [node.emit("neg", [a])], alpha=1.0)])
    return node.emit("mul", [times(node, rest, 0.5), _plus(node, node.emit("exp", [a]), 1)])


def cosh(node: Node) -> Value:
    x = node.input(0)
    both = [node.emit("exp", [v]) for v in (x, node.emit("neg", [x]))]
    return times(node, node.emit("add", both), 0.5)


def _arsinh(node: Node, a: Value) -> Value:
    """log(1 + a + a / (1 / a + sqrt(1 + 1 / a^2)))"""
    inverse = node.emit("div", [_scalar(node, 1, a), a])
    root = node.emit("sqrt", [_plus(node, node.emit("mul", [inverse, inverse]), 1)])
    more = node.emit("div", [a, node.emit("add", [inverse, root])])
    return _log1p(node, node.emit("add", [a, more]))


def acosh(node: Node) -> Value:
    """log(1 + t + sqrt(t) sqrt(t + 2)) for t = x - 1"""
    past = _plus(node, node.input(0), -1)
    roots = [node.emit("sqrt", [v]) for v in (past, _plus(node, past, 2))]
    return _log1p(node, node.emit("add", [past, node.emit("mul", roots)]))


def _artanh(node: Node, a: Value) -> Value:
    """log(1 + 2 a / (1 - a)) / 2"""
    ratio = node.emit("div", [times(node, a, 2), _minus(node, 1, a)])
    return times(node, _log1p(node, ratio), 0.5)


_BINARY = {
    "Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "PRelu": "prelu",
    "Equal": "equal", "Greater": "greater", "GreaterOrEqual": "greater_equal", "Less": "less",
    "LessOrEqual": "less_equal", "And": "and", "Or": "or", "Xor": "xor",
}  # fmt: skip

_UNARY = {
    "Relu": "relu", "Sigmoid": "sigmoid", "HardSwish": "hard_swish", "Tanh": "tanh", "Softplus": "softplus",
    "Mish": "mish", "Erf": "erf", "Exp": "exp", "Log": "log", "Sqrt": "sqrt", "Neg": "neg", "Abs": "abs",
    "Not": "not", "Sign": "sign", "Floor": "floor", "Ceil": "ceil", "Round": "round", "Sin": "sin",
    "Cos": "cos", "Softsign": "softsign",
}  # fmt: skip

HANDLERS: dict[str, Handler] = {
    **{name: _binary(ours) for name, ours in _BINARY.items()},
    **{name: _unary(ours) for name, ours in _UNARY.items()},
    "LeakyRelu": _unary("leaky_relu", alpha=0.01),
    "Elu": _unary("elu", alpha=1.0),
    "HardSigmoid": _unary("hard_sigmoid", alpha=0.2, beta=0.5),
    "ThresholdedRelu": _unary("thresholded_relu", alpha=1.0),
    "Shrink": _unary("shrink", lambd=0.5, bias=0.0),
    "Selu": selu,
    "Celu": celu,
    "Swish": swish,
    "Mod": mod,
    "IsNaN": is_nan,
    "IsInf": is_inf,
    "Sum": _chain("add"),
    "Mean": mean,
    "Min": _chain("min"),
    "Max": _chain("max"),
    "Pow": power,
    "Clip": clip,
    "Gelu": gelu,
    "Reciprocal": reciprocal,
    "Cast": cast,
    "CastLike": cast_like,
    "Where": where,
    "Acos": acos,
    "Acosh": acosh,
    "Asin": _of_magnitude(_arcsin),
    "Asinh": _of_magnitude(_arsinh),
    "Atan": _of_magnitude(_arctan),
    "Atanh": _of_magnitude(_artanh),
    "Cosh": cosh,
    "Sinh": _of_magnitude(_sinh),
    "Tan": tan,
    "Identity": identity,
    "Dropout": dropout,
}
