"""Functions as the operators that they are made of, for readers that have no operator for the whole."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..elementwise import Step
from ..graph import Operator
from .writer import Writer


@dataclass(frozen=True)
class _Nodes:
    """Nodes of an operator on tensors and numbers of its element type; each gives its tensor."""

    writer: Writer
    op: Operator

    def __call__(self, type: str, *operands: str | float, result: str = "") -> str:
        names = [x if isinstance(x, str) else self._number(x) for x in operands]
        return self.writer.node(type, names, self.op, result)

    def _number(self, number: float) -> str:
        return self.writer.constant(np.array(number, self.op.result.type.dtype.numpy))


def _gelu(made: _Nodes, x: str, result: str) -> str:
    phi = made("Add", made("Erf", made("Mul", x, math.sqrt(0.5))), 1.0)
    return made("Mul", made("Mul", x, 0.5), phi, result=result)


def _gelu_tanh(made: _Nodes, x: str, result: str) -> str:
    bent = made("Add", made("Mul", made("Mul", x, x), 0.044715), 1.0)
    phi = made("Add", made("Tanh", made("Mul", made("Mul", x, math.sqrt(2 / math.pi)), bent)), 1.0)
    return made("Mul", made("Mul", x, 0.5), phi, result=result)


def _mish(made: _Nodes, x: str, result: str) -> str:
    return made("Mul", x, made("Tanh", made("Softplus", x)), result=result)


def _neg(made: _Nodes, x: str, result: str) -> str:
    return made("Mul", x, -1.0, result=result)


def _hard_sigmoid(made: _Nodes, x: str, result: str, alpha: float, beta: float) -> str:
    return made("Clip", made("Add", made("Mul", x, alpha), beta), 0.0, 1.0, result=result)


APART: dict[str, Callable[..., str]] = {
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "hard_sigmoid": _hard_sigmoid,
    "mish": _mish,
    "neg": _neg,
}


def apart(w: Writer, op: Operator, step: Step, x: str, result: str) -> str:
    """The last of the nodes that compute a function of `APART`; returns its tensor."""
    return APART[step.op](_Nodes(w, op), x, result, *step.params)
