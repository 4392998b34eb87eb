"""Element-wise functions, logic, casts, and epilogues, which are expanded into nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..elementwise import Epilogue, Step
from ..errors import ModelError
from ..graph import Operator
from .apart import apart
from .writer import Write, Writer, onnx_type, plain


@dataclass(frozen=True)
class Form:
    """A function's ONNX operator; `swapped` exchanges operands, `params` are attributes in order."""

    type: str
    params: tuple[str, ...] = ()
    swapped: bool = False
    fixed: tuple[tuple[str, str | int], ...] = ()


FORMS: dict[str, Form] = {
    "relu": Form("Relu"), "leaky_relu": Form("LeakyRelu", ("alpha",)), "elu": Form("Elu", ("alpha",)),
    "sigmoid": Form("Sigmoid"), "hard_sigmoid": Form("HardSigmoid", ("alpha", "beta")),
    "hard_swish": Form("HardSwish"), "tanh": Form("Tanh"), "softplus": Form("Softplus"),
    "mish": Form("Mish"), "softsign": Form("Softsign"), "shrink": Form("Shrink", ("lambd", "bias")),
    "thresholded_relu": Form("ThresholdedRelu", ("alpha",)), "sign": Form("Sign"),
    "floor": Form("Floor"), "ceil": Form("Ceil"), "round": Form("Round"), "sin": Form("Sin"),
    "cos": Form("Cos"), "fmod": Form("Mod", fixed=(("fmod", 1),)), "mod": Form("Mod"),
    "gelu": Form("Gelu"), "gelu_tanh": Form("Gelu", fixed=(("approximate", "tanh"),)), "erf": Form("Erf"),
    "exp": Form("Exp"), "log": Form("Log"), "sqrt": Form("Sqrt"), "neg": Form("Neg"), "abs": Form("Abs"),
    "add": Form("Add"), "sub": Form("Sub"), "rsub": Form("Sub", swapped=True), "mul": Form("Mul"),
    "div": Form("Div"), "rdiv": Form("Div", swapped=True), "pow": Form("Pow"),
    "rpow": Form("Pow", swapped=True),
    "min": Form("Min"), "max": Form("Max"), "prelu": Form("PRelu"),
}  # fmt: skip


def _function(w: Writer, op: Operator, step: Step, operands: list[str], result: str) -> str:
    """The node of one step applied to tensors; returns the tensor computed."""
    if step.op in w.apart:
        return apart(w, op, step, operands[0], result)
    if step.op == "clip":
        dtype = op.result.type.dtype.numpy
        bounds = [w.constant(np.array(p, dtype)) if np.isfinite(p) else "" for p in step.params]
        return w.node("Clip", [*operands, *bounds], op, result)
    if step.op == "silu":
        return w.node("Mul", [*operands, w.node("Sigmoid", operands, op)], op, result)
    if step.op == "mod" and op.result.type.dtype.is_float:
        raise ModelError(f"{op!r}: ONNX has this remainder of floats since opset 28, not in what is written")
    form = FORMS[step.op]
    attributes = {**dict(zip(form.params, step.params, strict=True)), **dict(form.fixed)}
    return w.node(form.type, operands[::-1] if form.swapped else operands, op, result, **attributes)


def _elementwise(w: Writer, op: Operator, operands: list[str], result: str) -> None:
    name = op.name.split(".")[1]
    if name == "prelu" and op.operands[0].type.shape != op.result.type.shape:
        operands = [w.node("Expand", [operands[0], w.integers(op.result.type.shape)], op), operands[1]]
    params = tuple(op[p.name] for p in op.definition.attributes)
    _function(w, op, Step(name, params), operands, result)


def _epilogue(w: Writer, op: Operator, steps: Epilogue, x: str, extras: Sequence[str], result: str) -> None:
    """`steps` after tensor `x`; the last one computes `result`."""
    rest = iter(extras)
    for at, step in enumerate(steps):
        operands = [x, next(rest)] if step.function.arity == 2 else [x]
        x = _function(w, op, step, operands, result if at == len(steps) - 1 else "")


def with_epilogue(
    w: Writer,
    op: Operator,
    type: str,
    operands: list[str],
    steps: Epilogue,
    extras: list[str],
    **attributes: Any,
) -> None:
    """A node, then what is left of its epilogue."""
    result = w.names[op.result]
    made = w.node(type, operands, op, "" if steps else result, **attributes)
    _epilogue(w, op, steps, made, extras, result)


def _map(w: Writer, op: Operator, operands: list[str], result: str) -> None:
    steps = op["epilogue"]
    if not steps:
        w.node("Identity", operands, op, result)
    _epilogue(w, op, steps, operands[0], operands[1:], result)


def _cast(w: Writer, op: Operator, operands: list[str], result: str) -> None:
    w.node("Cast", operands, op, result, to=onnx_type(op["dtype"]))


_LOGIC = {
    "equal": "Equal", "greater": "Greater", "greater_equal": "GreaterOrEqual", "less": "Less",
    "less_equal": "LessOrEqual", "and": "And", "or": "Or", "xor": "Xor", "not": "Not", "where": "Where",
}  # fmt: skip

WRITERS: dict[str, Write] = {
    **{f"nn.{name}": _elementwise for name in [*FORMS, "clip", "silu"]},
    **{f"nn.{name}": plain(type) for name, type in _LOGIC.items()},
    "nn.map": _map,
    "nn.cast": _cast,
}
