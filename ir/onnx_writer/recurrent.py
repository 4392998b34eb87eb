"""Recurrences: their gates become the input, which W, a unit matrix for each direction, leaves as it is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from onnx import helper

from ..elementwise import Step
from ..errors import ModelError
from ..graph import Operator
from .elementwise import FORMS
from .writer import Write, Writer, onnx_type

_ACTIVATIONS = (
    "relu", "tanh", "sigmoid", "leaky_relu", "elu", "hard_sigmoid", "softsign", "softplus",
    "thresholded_relu",
)  # fmt: skip


def _input_weights(w: Writer, op: Operator) -> str:
    """W: direction d takes its own gates out of all, so row i of its matrix is 1 at column d G H + i."""
    directions, _, columns = op.operands[1].type.shape
    zeros = w.node("ConstantOfShape", [w.integers((columns, directions * columns))], op)
    number, axis = onnx_type(op.result.type.dtype), w.integers((0,))
    made = [w.node("EyeLike", [zeros], op, dtype=number, k=d * columns) for d in range(directions)]
    apart = [w.node("Unsqueeze", [m, axis], op) for m in made]
    return apart[0] if directions == 1 else w.node("Concat", apart, op, axis=0)


def _attributes(op: Operator) -> dict[str, Any]:
    directions, hidden, _ = op.operands[1].type.shape
    steps: tuple[Step, ...] = op["activations"] * directions
    for step in steps:
        if step.op not in _ACTIVATIONS:
            raise ModelError(f"{op!r}: ONNX's recurrences have no activation {step.op}")
    found: dict[str, Any] = {
        "direction": op["direction"],
        "hidden_size": hidden,
        "activations": [FORMS[s.op].type for s in steps],
    }
    for name in ("alpha", "beta"):
        given = [v for s in steps for p, v in zip(s.function.params, s.params, strict=True) if p == name]
        found |= {f"activation_{name}": given} if given else {}
    return found | ({"clip": op["clip"]} if op["clip"] < math.inf else {})


def _inputs(w: Writer, op: Operator, operands: list[str], bias: str = "") -> list[str]:
    """X, W, R, B, sequence_lens and the initial hidden state."""
    weights = w.node("Transpose", [operands[1]], op, perm=(0, 2, 1))
    return [operands[0], _input_weights(w, op), weights, bias, "", operands[2]]


def _lstm(w: Writer, op: Operator, operands: list[str], result: str) -> None:
    inputs = [*_inputs(w, op, operands), *operands[3:]]
    if not op["last_cell"]:
        w.node("LSTM", inputs, op, result, **_attributes(op))
        return
    hidden, cell = (w.fresh(f"{result}/{what}") for what in ("hidden", "cell"))
    node = helper.make_node("LSTM", inputs, [hidden, "", cell], name=w.node_name(op), **_attributes(op))
    w.nodes.append(node)
    w.node("Concat", [hidden, w.node("Unsqueeze", [cell, w.integers((0,))], op)], op, result, axis=0)


def _gru(w: Writer, op: Operator, operands: list[str], result: str) -> None:
    """A bias of the candidate's product is the last H of B, the rest of which is zero."""
    bias = ""
    if len(operands) > 3:
        directions, hidden, _ = op.operands[1].type.shape
        zeros = w.constant(np.zeros((directions, 5 * hidden), op.result.type.dtype.numpy))
        bias = w.node("Concat", [zeros, operands[3]], op, axis=1)
    after = int(op["reset_after"])
    w.node("GRU", _inputs(w, op, operands, bias), op, result, linear_before_reset=after, **_attributes(op))


def _rnn(w: Writer, op: Operator, operands: list[str], result: str) -> None:
    w.node("RNN", _inputs(w, op, operands), op, result, **_attributes(op))


WRITERS: dict[str, Write] = {"nn.lstm": _lstm, "nn.gru": _gru, "nn.rnn": _rnn}
