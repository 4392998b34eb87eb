"""Functions of a byte, which the integer rules have made tables of, as operators of TFLite.

A table is recognized by what it holds: the values of one of our functions from the operand's quantization to
the result's. TFLite's own kernel then says what it holds instead; where that gives one quantization alone,
another operator brings it to the one that is wanted.

    sigmoid      logistic
    tanh         tanh
    relu         relu
    silu         x logistic(x)
    hard_sigmoid a 1x1 depthwise convolution that saturates at 0 and 1
    hard_swish   x hard_sigmoid(x)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from secateur.ir.graph import Graph, Operator, Value, constant_of
from secateur.ir.interpreter import run
from secateur.ir.ops.quantize import TFLITE, quant_attributes
from secateur.ir.reference.byte_functions import FIXED, TABLES
from secateur.ir.registry import create
from secateur.ir.types import DType, Quant, TensorType

Made = list[Operator]
Bytes = NDArray[np.uint8]
Maker = Callable[[Value, Quant, str], Made | None]


def of_table(op: Operator) -> Made | None:
    """Operators of TFLite for a table, where it holds a function that has some; else None."""
    x = op.operands[0] if op.name == "q.table" else None
    if x is None or op["function"] or not (_is_byte(x.type) and _is_byte(op.result.type)):
        return None
    assert op.result.type.quant is not None
    for name, make in MAKERS.items():
        if _holds(op, name):
            return make(x, op.result.type.quant, op.loc)
    return None


def _is_byte(type: TensorType) -> bool:
    return type.dtype == DType.U8 and type.quant is not None and type.quant.axis is None


def _holds(op: Operator, name: str) -> bool:
    """Whether the operator's table is that of a function of ours."""
    values = constant_of(op.operands[1])
    x, y = op.operands[0].type.quant, op.result.type.quant
    assert x is not None
    assert y is not None
    return values is not None and bool((values.view(np.uint8) == float_table(name, x, y)).all())


def float_table(name: str, x: Quant, y: Quant) -> Bytes:
    """quantize(f(dequantize(x))) of every byte, as the rules to integers compute it."""
    graph = Graph("table")
    value = graph.add_input(TensorType((256,), DType.U8, quant=x), "x")
    value = graph.append(create("q.dequantize", [value])).result
    if name != "requantize":
        value = graph.append(create(f"nn.{name}", [value], DEFAULTS.get(name, {}))).result
    made = graph.append(create("q.quantize", [value], {"dtype": DType.U8, **quant_attributes(y)}))
    graph.set_outputs([made.result], ["y"])
    return np.asarray(run(graph, {"x": np.arange(256, dtype=np.uint8)})["y"])


DEFAULTS: dict[str, dict[str, float]] = {"hard_sigmoid": {"alpha": 1 / 6, "beta": 0.5}}
"""Parameters of functions as networks have them."""

# Operators ------------------------------------------------------------------------------------------


def constant(array: NDArray[np.generic], name: str, quant: Quant | None = None) -> Operator:
    made = create("nn.constant", [], {"value": array})
    made.result.type, made.result.name = replace(made.result.type, quant=quant), name
    return made


def tabled(x: Value, function: str, quant: Quant, loc: str = "") -> Made:
    """A table of one of TFLite's functions, and what brings its result to `quant`."""
    assert x.type.quant is not None, "a byte has a scale"
    given = FIXED.get(function, quant)
    values = constant(TABLES[function](x.type.quant, given), f"{function}_table")
    made = create("q.table", [x, values.result], {"function": function, **quant_attributes(given)}, loc)
    made.result.name = f"{x.name}_{function}"
    more = tabled(made.result, "requantize", quant, loc) if given != quant else []
    return [values, made, *more]


def _product(x: Value, gate: Made, quant: Quant, loc: str) -> Made:
    attributes = {"rounding": TFLITE, **quant_attributes(quant)}
    return [*gate, create("q.linear_mul", [x, gate[-1].result], attributes, loc)]


def _silu(x: Value, quant: Quant, loc: str) -> Made:
    return _product(x, tabled(x, "logistic", FIXED["logistic"], loc), quant, loc)


SATURATING = Quant((1 / 255,), (0,))
"""Its largest byte is 1."""


def _hard_sigmoid(x: Value, quant: Quant, loc: str) -> Made | None:
    """x / 6 + 1/2 between 0 and 1: weights of 127 steps of 1 / (6 x 127), a result that saturates."""
    if x.type.rank < 3:
        return None
    assert x.type.quant is not None
    channels, n = x.type.shape[1], x.type.rank - 2
    step = float(np.float32(1 / 6 / 127))
    unit = float(np.float32(x.type.quant.scales[0])) * step
    weights = constant(np.full((channels, 1, *[1] * n), 127, np.int8), f"{loc}.sixth", Quant((step,), (0,)))
    bias = constant(np.full(channels, np.rint(0.5 / unit), np.int32), f"{loc}.half")
    window = {"strides": (1,) * n, "dilations": (1,) * n, "pads": (0,) * (2 * n), "groups": channels}
    attributes = {"rounding": TFLITE, **window, **quant_attributes(SATURATING)}
    made = create("q.linear_conv", [x, weights.result, bias.result], attributes, loc)
    made.result.name = f"{x.name}_hard_sigmoid"
    more = tabled(made.result, "requantize", quant, loc) if quant != SATURATING else []
    return [weights, bias, made, *more]


def _hard_swish(x: Value, quant: Quant, loc: str) -> Made | None:
    gate = _hard_sigmoid(x, SATURATING, loc)
    return None if gate is None else _product(x, gate, quant, loc)


def _named(function: str) -> Maker:
    return lambda x, quant, loc: tabled(x, function, quant, loc)


MAKERS: dict[str, Maker] = {
    "requantize": _named("requantize"),
    "relu": _named("relu"),
    "sigmoid": _named("logistic"),
    "tanh": _named("tanh"),
    "silu": _silu,
    "hard_sigmoid": _hard_sigmoid,
    "hard_swish": _hard_swish,
}
"""By a function of ours: what makes it of a byte, or None where that cannot be."""
