"""Transposed convolutions whose windows tile the result: products of pixels, then spread over blocks."""

from __future__ import annotations

import numpy as np

from secateur.ir.elementwise import Step
from secateur.ir.graph import Operator, Value, constant_of
from secateur.ir.rewrite import Match, Op, Rule

from .affine import channel_axis, need_constant_weights, per_channel

FEW = 4
"""Filters at most: blocks of channels would hold more padding than results, and epilogues compute on it."""


def _guard(m: Match) -> None:
    op, weights = m.root, need_constant_weights(m, m.root)
    kernel = weights.shape[2:]
    m.need(len(kernel) == 2 and kernel[0] == kernel[1] > 1, f"its kernel {kernel} is no square")
    m.need(op["strides"] == kernel, f"kernel {kernel} and strides {op['strides']} differ")
    plain = not any(op["pads"]) and not any(op["output_padding"]) and set(op["dilations"]) == {1}
    m.need(plain and op["groups"] == 1, "it has padding, dilations or groups")
    m.need(weights.shape[1] <= FEW, f"{weights.shape[1]} filters fill blocks of channels")
    for extra in op.operands[2:]:
        m.need(_of_channels(op, extra) is not None, "its epilogue takes more than a number for each channel")


def _of_channels(op: Operator, extra: Value) -> np.ndarray | None:
    """One number for each channel of the result, where the epilogue's operand is such a constant."""
    array = constant_of(extra)
    return None if array is None else per_channel(array, op.result.type.shape, channel_axis(op))


def _spread(m: Match) -> Value:
    """conv_transpose(x, w: C x M x b x b) {steps}

       ->   depth_to_space(conv(x, w': M b b x C x 1 x 1) {steps}) {b}

    where strides are the kernel's extents, there are no padding, dilations or groups, M is small, and the
    steps take nothing but constants for each channel: each pixel of x makes a block of the result alone.
    """
    op, weights = m.root, need_constant_weights(m, m.root)
    channels, filters, block = weights.shape[:3]
    dtype = op.result.type.dtype.numpy
    flat = weights.transpose(1, 2, 3, 0).reshape(filters * block * block, channels, 1, 1)
    given = [np.repeat(_known(op, v), block * block).reshape(1, -1, 1, 1) for v in op.operands[2:]]
    extras = [
        m.constant(array.astype(dtype), v.name) for array, v in zip(given, op.operands[2:], strict=True)
    ]
    steps: tuple[Step, ...] = op["epilogue"]
    window = {"strides": (1, 1), "dilations": (1, 1), "pads": (0, 0, 0, 0), "groups": 1}
    operands = [op.operands[0], m.constant(np.ascontiguousarray(flat), op.operands[1].name), *extras]
    made = m.new("nn.conv", operands, **window, epilogue=steps)
    return m.new("nn.depth_to_space", [made], block=block, mode="CRD")


def _known(op: Operator, extra: Value) -> np.ndarray:
    found = _of_channels(op, extra)
    assert found is not None, "the guard wants constants for each channel"
    return found


RULES: tuple[Rule, ...] = (Rule("conv-transpose-of-blocks", Op("nn.conv_transpose"), _guard, _spread),)
