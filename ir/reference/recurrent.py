"""Recurrences, step by step; states are carried in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..elementwise import Step, apply_epilogue
from ..graph import Operator
from ..ops.recurrent import DIRECTIONS
from .rule import Array, Rule, widened

Cell = Callable[[Array, Array, list[Array]], list[Array]]
"""Gates of a step (B x G H), weights (H x G H) and states to the next states, the hidden one first."""


def _applied(step: Step, x: Array) -> Array:
    return apply_epilogue(x, (step,), ())


def _activated(op: Operator, step: Step, x: Array) -> Array:
    """Of a gate."""
    return _applied(step, np.clip(x, -op["clip"], op["clip"]))


def _lstm(op: Operator, extras: Sequence[Array]) -> Cell:
    f, g, h = op["activations"]
    peepholes = np.split(extras[0], 3) if extras else [np.zeros(())] * 3

    def cell(gates: Array, weights: Array, states: list[Array]) -> list[Array]:
        hidden, old = states
        i, o, forget, c = np.split(gates + hidden @ weights, 4, axis=1)
        i = _activated(op, f, i + peepholes[0] * old)
        forget = _activated(op, f, forget + peepholes[2] * old)
        new = forget * old + i * _activated(op, g, c)
        return [_activated(op, f, o + peepholes[1] * new) * _applied(h, new), new]

    return cell


def _gru(op: Operator, extras: Sequence[Array]) -> Cell:
    f, g = op["activations"]
    bias = extras[0] if extras else np.zeros(())

    def cell(gates: Array, weights: Array, states: list[Array]) -> list[Array]:
        (hidden,) = states
        z, r, candidate = np.split(gates, 3, axis=1)
        of_z, of_r, of_h = np.split(weights, 3, axis=1)
        z, r = _activated(op, f, z + hidden @ of_z), _activated(op, f, r + hidden @ of_r)
        product = r * (hidden @ of_h + bias) if op["reset_after"] else (r * hidden) @ of_h + bias
        return [(1 - z) * _activated(op, g, candidate + product) + z * hidden]

    return cell


def _rnn(op: Operator, _extras: Sequence[Array]) -> Cell:
    def cell(gates: Array, weights: Array, states: list[Array]) -> list[Array]:
        return [_activated(op, op["activations"][0], gates + states[0] @ weights)]

    return cell


def _recurrence(cell_of: Callable[[Operator, Sequence[Array]], Cell], states: int) -> Rule:
    """A rule that walks each direction; operands past the `states` ones are handed to the cell."""

    def rule(op: Operator, arrays: Sequence[Array]) -> Array:
        gates, weights, *rest = map(widened, arrays)
        result = np.zeros(op.result.type.shape, arrays[0].dtype)
        each = np.split(gates, len(weights), axis=2)
        for d, backwards in enumerate(DIRECTIONS[op["direction"]]):
            now, cell = [s[d] for s in rest[:states]], cell_of(op, [e[d] for e in rest[states:]])
            for t in range(len(gates))[:: -1 if backwards else 1]:
                now = cell(each[d][t], weights[d], now)
                result[t, d] = now[0]
            result[len(gates) :, d] = now[-1]
        return result

    return rule


RULES: dict[str, Rule] = {
    "lstm": _recurrence(_lstm, 2),
    "gru": _recurrence(_gru, 1),
    "rnn": _recurrence(_rnn, 1),
}
