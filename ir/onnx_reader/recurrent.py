"""LSTM, GRU and RNN: one product of the input with its weights for all steps, then the recurrence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..elementwise import FUNCTIONS, Step
from ..graph import Value, constant_of
from ..ops.recurrent import DIRECTIONS, GATES
from ..types import extents
from .node import Handler, Node, NodeError

_ACTIVATIONS = {
    "Relu": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid", "LeakyRelu": "leaky_relu", "Elu": "elu",
    "HardSigmoid": "hard_sigmoid", "Softsign": "softsign", "Softplus": "softplus",
    "ThresholdedRelu": "thresholded_relu",
}  # fmt: skip
_DEFAULTS = {"lstm": ("Sigmoid", "Tanh", "Tanh"), "gru": ("Sigmoid", "Tanh"), "rnn": ("Tanh",)}


def _activations(node: Node, cell: str) -> tuple[Step, ...]:
    """The activations, which must be those of both directions; parameters are taken in order."""
    wanted = _DEFAULTS[cell]
    names = node.strings("activations", ()) or wanted
    parameters = {name: list(node.floats(f"activation_{name}", ())) for name in ("alpha", "beta")}
    steps = [_activation(name, parameters) for name in names]
    first, rest = tuple(steps[: len(wanted)]), tuple(steps[len(wanted) :])
    if len(first) != len(wanted) or rest not in ((), first):
        raise NodeError(
            f"activations {', '.join(names)}: {len(wanted)} are needed, the same for each direction"
        )
    return first


def _activation(name: str, parameters: dict[str, list[float]]) -> Step:
    found = next((ours for theirs, ours in _ACTIVATIONS.items() if theirs.lower() == name.lower()), None)
    if found is None:
        raise NodeError(f"activation '{name}' is not supported; known: {', '.join(_ACTIVATIONS)}")
    row = FUNCTIONS[found]
    given = [
        parameters[p].pop(0) if parameters[p] else d for p, d in zip(row.params, row.defaults, strict=True)
    ]
    return Step(found, tuple(given))


def _direction(node: Node) -> str:
    return node.choice("direction", "forward", tuple(DIRECTIONS))


def _need_whole_sequences(node: Node, steps: int) -> None:
    if node.optional(4) is None:
        return
    known = constant_of(node.input(4))
    if known is None or (known != steps).any():
        raise NodeError(f"sequence_lens must be left out or be {steps}, the length of the input, for each")


def _input(node: Node) -> Value:
    """X, steps outermost."""
    x = node.input(0)
    if x.type.rank != 3:
        raise NodeError(f"the input has shape {extents(x.type.shape)}, not steps x sequences x features")
    return node.emit("transpose", [x], perm=(1, 0, 2)) if node.flag("layout") else x


def _bias_halves(node: Node, columns: int) -> tuple[Value | None, Value | None]:
    """The halves of B, D x G H each: of the input's weights and of the recurrent ones."""
    bias = node.optional(3)
    if bias is None:
        return None, None
    directions = bias.type.shape[0]
    if bias.type.shape != (directions, 2 * columns):
        raise NodeError(f"B has shape {extents(bias.type.shape)}, not {directions}x{2 * columns}")
    return (
        _columns(node, bias, 0, columns),
        _columns(node, bias, columns, columns),
    )


def _columns(node: Node, x: Value, start: int, size: int) -> Value:
    rows = x.type.shape[0]
    return node.emit("slice", [x], starts=(0, start), sizes=(rows, size), steps=(1, 1))


def _gates(node: Node, x: Value, bias: Value | None) -> Value:
    """x W^T + bias for all steps and directions: T x B x D G H."""
    w = node.input(1)
    if w.type.rank != 3 or w.type.shape[2] != x.type.shape[2]:
        raise NodeError(
            f"W has shape {extents(w.type.shape)}, which does not fit the input's {extents(x.type.shape)}"
        )
    steps, batch, features = x.type.shape
    columns = w.type.shape[0] * w.type.shape[1]
    rows = node.emit("reshape", [x], shape=(steps * batch, features))
    flat = node.emit("transpose", [node.emit("reshape", [w], shape=(columns, features))], perm=(1, 0))
    flat_bias = None if bias is None else node.emit("reshape", [bias], shape=(columns,))
    return node.emit(
        "reshape", [node.biased("matmul", [rows, flat], flat_bias, {})], shape=(steps, batch, columns)
    )


def _state(node: Node, index: int, like: tuple[int, ...], x: Value) -> Value:
    """An initial state as D x B x H; zeros where it is left out."""
    given = node.optional(index)
    if given is None:
        return node.constant(np.zeros(like, x.type.dtype.numpy))
    return node.emit("transpose", [given], perm=(1, 0, 2)) if node.flag("layout") else given


def _outputs(node: Node, states: Value, steps: int, more: Sequence[Value] = ()) -> list[Value]:
    """Y, Y_h and what follows, in the layout asked for. `states` is T x D x B x H."""
    batch_first = node.flag("layout")
    reversed_ = DIRECTIONS[_direction(node)]
    last = [_step(node, states, 0 if back else steps - 1, d) for d, back in enumerate(reversed_)]
    final = last[0] if len(last) == 1 else node.emit("concat", last, axis=0)
    if not batch_first:
        return [states, final, *more]
    swapped = [node.emit("transpose", [v], perm=(1, 0, 2)) for v in (final, *more)]
    return [node.emit("transpose", [states], perm=(2, 0, 1, 3)), *swapped]


def _step(node: Node, states: Value, step: int, direction: int) -> Value:
    """The states of one direction at one step: 1 x B x H."""
    _, _, batch, hidden = states.type.shape
    cut = node.emit(
        "slice", [states], starts=(step, direction, 0, 0), sizes=(1, 1, batch, hidden), steps=(1,) * 4
    )
    return node.emit("reshape", [cut], shape=(1, batch, hidden))


@dataclass(frozen=True)
class _Recurrence:
    """What the three cells have in common: input T x B x I, weights D x H x G H, halves of the bias."""

    node: Node
    cell: str
    x: Value
    weights: Value
    biases: tuple[Value | None, Value | None]
    attributes: Mapping[str, Any]

    @property
    def steps(self) -> int:
        return self.x.type.shape[0]

    @property
    def state(self) -> tuple[int, int, int]:
        directions, hidden, _ = self.weights.type.shape
        return directions, self.x.type.shape[1], hidden

    def initial(self, index: int) -> Value:
        return _state(self.node, index, self.state, self.x)

    def whole_bias(self) -> Value | None:
        """The sum of both halves."""
        of_input, of_hidden = self.biases
        if of_input is None or of_hidden is None:
            return None
        return self.node.emit("add", [of_input, of_hidden])

    def emit(self, gates: Value, operands: Sequence[Value], **more: bool) -> Value:
        return self.node.emit(self.cell, [gates, self.weights, *operands], **self.attributes, **more)


def _read(node: Node, cell: str) -> _Recurrence:
    x, r, direction = _input(node), node.input(2), _direction(node)
    _need_weights(node, r, len(DIRECTIONS[direction]), GATES[cell])
    _need_whole_sequences(node, x.type.shape[0])
    attributes = {
        "direction": direction,
        "clip": node.number("clip", float("inf")),
        "activations": _activations(node, cell),
    }
    weights, biases = node.emit("transpose", [r], perm=(0, 2, 1)), _bias_halves(node, r.type.shape[1])
    return _Recurrence(node, cell, x, weights, biases, attributes)


def _need_weights(node: Node, r: Value, directions: int, gates: int) -> None:
    hidden = node.integer("hidden_size", r.type.shape[-1] if r.type.rank else 0)
    if r.type.shape != (directions, gates * hidden, hidden) or hidden < 1:
        raise NodeError(f"R has shape {extents(r.type.shape)}, not {directions}x{gates * hidden}x{hidden}")


def lstm(node: Node) -> list[Value]:
    if node.flag("input_forget"):
        raise NodeError("coupled gates (input_forget = 1) are not supported")
    cell = _read(node, "lstm")
    peepholes = [p] if (p := node.optional(7)) is not None else []
    gates = _gates(node, cell.x, cell.whole_bias())
    wanted = len(node.proto.output) > 2 and bool(node.proto.output[2])
    found = cell.emit(gates, [cell.initial(5), cell.initial(6), *peepholes], last_cell=wanted)
    if not wanted:
        return _outputs(node, found, cell.steps)
    parts = [_steps(node, found, 0, cell.steps), _steps(node, found, cell.steps, 1)]
    return _outputs(node, parts[0], cell.steps, [node.emit("reshape", [parts[1]], shape=cell.state)])


def _steps(node: Node, states: Value, start: int, size: int) -> Value:
    rest = states.type.shape[1:]
    return node.emit("slice", [states], starts=(start, 0, 0, 0), sizes=(size, *rest), steps=(1,) * 4)


def gru(node: Node) -> list[Value]:
    """With linear_before_reset the candidate's recurrent bias stays apart, as r scales it too."""
    cell, after = _read(node, "gru"), node.flag("linear_before_reset")
    of_input, of_hidden = cell.biases
    if of_input is None or of_hidden is None or not after:
        found = cell.emit(_gates(node, cell.x, cell.whole_bias()), [cell.initial(5)], reset_after=after)
        return _outputs(node, found, cell.steps)
    hidden = cell.state[2]
    two = 2 * hidden
    early = node.emit("add", [_columns(node, of_input, 0, two), _columns(node, of_hidden, 0, two)])
    late = _columns(node, of_input, two, hidden)
    gates = _gates(node, cell.x, node.emit("concat", [early, late], axis=1))
    apart = _columns(node, of_hidden, two, hidden)
    return _outputs(node, cell.emit(gates, [cell.initial(5), apart], reset_after=True), cell.steps)


def rnn(node: Node) -> list[Value]:
    cell = _read(node, "rnn")
    return _outputs(node, cell.emit(_gates(node, cell.x, cell.whole_bias()), [cell.initial(5)]), cell.steps)


HANDLERS: dict[str, Handler] = {"LSTM": lstm, "GRU": gru, "RNN": rnn}
