"""Recurrences over a sequence: LSTM, GRU and the plain cell.

What the input contributes to the gates is computed beforehand, for all steps at
once, by an ordinary matrix product; an operator here holds what is sequential.

Shapes: T steps, D directions (2 where `direction` is bidirectional), B sequences, H
units, G gates in ONNX's order. `gates` is T x B x D G H, direction outermost, then
gate, then unit; `weights` D x H x G H (ONNX's R with its last two axes exchanged); states
D x B x H. The result holds every hidden state, T x D x B x H.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..axes import OUT, Axes, Axis, Ports, Relation, Summed, Tie
from ..opdef import Attribute, OpDef, Signature, TypeRule, Types
from ..types import TensorType, extents
from .axes import spread
from .rows import register
from .rules import Shape, floating, require, same_dtype

DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
"""Whether each direction walks backwards."""

GATES = {"lstm": 4, "gru": 3, "rnn": 1}
FUNCTIONS = {"lstm": 3, "gru": 2, "rnn": 1}  # activations


def _sizes(sig: Signature, cell: str) -> tuple[int, int, int, int]:
    """T, D, B, H; TypeRuleError where gates and weights do not fit each other."""
    gates, weights = sig.types[:2]
    require(gates.rank == 3, f"gates {gates} are not steps x sequences x units")
    require(weights.rank == 3, f"weights {weights} are not directions x units x gates")
    directions, hidden, columns = weights.shape
    require(sig["direction"] in DIRECTIONS, f"unknown direction '{sig['direction']}'")
    wanted = len(DIRECTIONS[sig["direction"]])
    require(directions == wanted, f"weights {weights} of {directions} directions, {wanted} are wanted")
    count = GATES[cell]
    require(hidden > 0 and columns == count * hidden, f"weights {weights} are not of {count} gates")
    require(gates.shape[2] == directions * columns, f"gates {gates} do not fit weights {weights}")
    return gates.shape[0], directions, gates.shape[1], hidden


def _need_shape(type: TensorType, what: str, shape: Shape) -> None:
    require(type.shape == shape, f"{what} is {type}, not of shape {extents(shape)}")


def _need_activations(sig: Signature, cell: str) -> None:
    steps = sig["activations"]
    require(len(steps) == FUNCTIONS[cell], f"{cell} takes {FUNCTIONS[cell]} activations, got {len(steps)}")
    for step in steps:
        require(step.function.arity == 1, f"activation {step.op} takes two operands")
    require(sig["clip"] >= 0, f"clip is {sig['clip']}")


def _rule(cell: str, states: Sequence[str], extra: tuple[str, int]) -> TypeRule:
    """`states` follow gates and weights; then at most one operand of D x so many H, as `extra` says."""

    def infer(sig: Signature) -> Sequence[TensorType]:
        steps, directions, batch, hidden = _sizes(sig, cell)
        floating(sig.types[0])
        _need_activations(sig, cell)
        for type, what in zip(sig.types[2:], states, strict=False):
            _need_shape(type, what, (directions, batch, hidden))
        rest = sig.types[2 + len(states) :]
        require(len(rest) <= 1, f"{len(sig.types)} operands are too many")
        for type in rest:
            _need_shape(type, extra[0], (directions, extra[1] * hidden))
        more = sig["last_cell"] if cell == "lstm" else False
        return [TensorType((steps + more, directions, batch, hidden), same_dtype(sig))]

    return infer


def _axes(states: int) -> Axes:
    """The units of a cell with so many `states`: of gates, states and weights, its part goes with each."""

    def relations(ports: Ports) -> Iterator[Relation]:
        yield from (Tie(Axis(0, 1), Axis(OUT, 2)), Tie(Axis(1, 1), Axis(OUT, 3)), Summed(Axis(1, 1)))
        for state in range(2, 2 + states):
            yield from (Tie(Axis(state, axis), Axis(OUT, axis + 1)) for axis in (1, 2))
        hidden = ports.result.shape[3]
        for port, axis in ((0, 2), (1, 2), *((p, 1) for p in range(2 + states, len(ports.types)))):
            unit = spread(ports.types[port].shape[axis] // hidden, hidden)[1]
            yield Tie(Axis(port, axis), Axis(OUT, 3), None, unit)

    return Axes(relations, "goes through steps and directions along axis {axis}")


def recurrence_macs(types: Types, _result: TensorType) -> int:
    """Every step multiplies the hidden state with all weights."""
    steps, batch = types[0].shape[:2]
    return steps * batch * types[1].elements


_COMMON = (
    Attribute("direction", "str", "forward", "forward, reverse or bidirectional"),
    Attribute("clip", "float", float("inf"), "sums of gates are limited to +- this"),
)


def _activations(doc: str) -> Attribute:
    return Attribute("activations", "epilogue", doc=doc)


register(
    OpDef(
        "nn.lstm",
        "Long short-term memory: c = f c + i a1(c gate), h = o a2(c); i, o, f by activation 0.",
        ("gates", "weights", "hidden", "cell", "peepholes*"),
        _rule("lstm", ("hidden", "cell"), ("peepholes (of i, o, f)", 3)),
        (
            *_COMMON,
            _activations("of the gates, of what enters the cell, of what leaves it"),
            Attribute("last_cell", "bool", False, "the last cell state follows as step T"),
        ),
        recurrence_macs,
        axes=_axes(2),
    )
)
register(
    OpDef(
        "nn.gru",
        "Gated recurrent unit: h = (1 - z) a1(h gate) + z h; z, r by activation 0.",
        ("gates", "weights", "hidden", "bias*"),
        _rule("gru", ("hidden",), ("bias (of h's product)", 1)),
        (
            *_COMMON,
            _activations("of the gates, of the candidate"),
            Attribute("reset_after", "bool", False, "r scales the product of h with its weights, not h"),
        ),
        recurrence_macs,
        axes=_axes(1),
    )
)
register(
    OpDef(
        "nn.rnn",
        "Plain recurrence: h = a0(gate + h weights).",
        ("gates", "weights", "hidden"),
        _rule("rnn", ("hidden",), ("", 0)),
        (*_COMMON, _activations("of the hidden state")),
        recurrence_macs,
        axes=_axes(1),
    )
)
