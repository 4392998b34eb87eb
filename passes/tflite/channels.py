"""Channels scaled and shifted by constants, as 1x1 convolutions; transposed convolutions without groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from secateur.ir.elementwise import Epilogue, Step, extra_operands
from secateur.ir.graph import Operator, Value
from secateur.ir.rewrite import Any_, Array, Const, Match, Op, Rule

from ..fuse.affine import per_channel
from ..integer.parts import known
from .floats import need_floats, reshaped

LARGEST_WEIGHTS = 1 << 22
"""No transposed convolution in groups is made of so many weights, most of them zeros."""


@dataclass(frozen=True)
class _Scaled:
    """What the first `steps` steps of a map do to channels: scale and shift, one float64 for each."""

    scale: Array
    shift: Array
    steps: int
    plain: bool
    """Whether all of them take one number for all channels."""


def _scaled(op: Operator) -> _Scaled:
    """The longest start of a map that scales and shifts channels by constants."""
    shape = op.result.type.shape
    extras = iter(op.operands[1:])
    found = _Scaled(np.ones(shape[1]), np.zeros(shape[1]), 0, True)
    for step in op["epilogue"]:
        if step.op not in AFFINE:
            break
        array = known(next(extras))
        c = None if array is None else per_channel(array, shape, 1)
        if c is None:
            break
        assert array is not None
        scale, shift = AFFINE[step.op](found.scale, found.shift, np.asarray(c, np.float64))
        found = _Scaled(scale, shift, found.steps + 1, found.plain and array.size == 1)
    return found


AFFINE = {
    "add": lambda s, t, c: (s, t + c),
    "sub": lambda s, t, c: (s, t - c),
    "rsub": lambda s, t, c: (-s, c - t),
    "mul": lambda s, t, c: (s * c, t * c),
    "div": lambda s, t, c: (s / c, t / c),
}


def _guard_scaled(m: Match) -> None:
    need_floats(m)
    m.need(m.root.result.type.rank > 1, "it has no channels")
    with np.errstate(divide="ignore", invalid="ignore"):
        found = _scaled(m.root)
    whole = found.steps == len(m.root["epilogue"])
    image = m.root.result.type.rank in (2, 4)
    m.need(found.steps > 0 and ((whole and image) or not found.plain), "it scales no channels by constants")
    m.need(bool(np.isfinite([found.scale, found.shift]).all()), "its scale or shift is not finite")


def _scaling(m: Match) -> Value:
    """map(x, s, t, ...) {mul, add, steps}   ->   conv(x, s) {groups, add t, steps}

    where s and t are known, one for each channel; x becomes an image where it is none.
    """
    op = m.root
    found, shape = _scaled(op), op.result.type.shape
    image = shape if len(shape) > 2 else (*shape, 1, 1)
    weights = found.scale.astype(np.float32).reshape(-1, 1, *[1] * (len(image) - 2))
    n = len(image) - 2
    window = {"strides": (1,) * n, "dilations": (1,) * n, "pads": (0,) * 2 * n, "groups": shape[1]}
    shift = m.constant(found.shift.astype(np.float32).reshape(1, -1, *[1] * n), f"{op.loc}.shift")
    operands = [reshaped(m, op.operands[0], image), m.constant(weights, f"{op.loc}.scale"), shift]
    made = m.new("nn.conv", operands, **window, epilogue=(Step("add"),))
    return _rest(m, op, reshaped(m, made, shape), found.steps)


def _rest(m: Match, op: Operator, made: Value, taken: int) -> Value:
    """The steps behind those that are taken, as a map."""
    steps: Epilogue = op["epilogue"][taken:]
    extras = op.operands[1 + extra_operands(op["epilogue"][:taken]) :]
    return m.new("nn.map", [made, *extras], epilogue=steps) if steps else made


def _guard_groups(m: Match) -> None:
    need_floats(m)
    weights = m.array("w")
    groups = m.root["groups"]
    m.need(groups > 1, "it has one group")
    m.need(weights.size * groups <= LARGEST_WEIGHTS, f"its {groups} groups make too many weights of one")


def _one_group(m: Match) -> Value:
    """conv_transpose(x, w) {groups}   ->   conv_transpose(x, w with zeros between groups)"""
    op, weights = m.root, m.array("w")
    (inputs, filters), groups = weights.shape[:2], op["groups"]
    whole = np.zeros((inputs, filters * groups, *weights.shape[2:]), weights.dtype)
    for group in range(groups):
        rows = slice(group * inputs // groups, (group + 1) * inputs // groups)
        whole[rows, group * filters : (group + 1) * filters] = weights[rows]
    operands = [op.operands[0], m.constant(whole, op.operands[1].name), *op.operands[2:]]
    return m.new("nn.conv_transpose", operands, **{**op.attributes, "groups": 1})


RULES: tuple[Rule, ...] = (
    Rule("tflite-scaling", Op("nn.map"), _guard_scaled, _scaling),
    Rule("tflite-groups", Op("nn.conv_transpose", (Any_("x"), Const("w"))), _guard_groups, _one_group),
)
