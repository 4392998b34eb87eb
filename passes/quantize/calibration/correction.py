"""Bias correction: what quantization adds to a layer's result on average is taken off its bias.

Nagel et al., "Data-Free Quantization through Weight Equalization and Bias
Correction", 2019, section 4.2, with means over calibration images. Rounded
weights w + e give w x + e x; the mean of e x is not zero, since x is mostly
positive and e has few elements. Convolutions and matrix products are linear, so
the mean of e x is the layer on mean input with weights e, padding included.

It wants mean inputs of the real network alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir import interpreter
from secateur.ir.graph import Operator, Value, constant_of
from secateur.ir.registry import create

from ...fuse.affine import channel_axis

Array = NDArray[Any]
Floats = NDArray[np.float64]


@dataclass(eq=False)
class Mean:
    """Running mean of equally shaped arrays, in float64."""

    count: int = 0
    mean: Floats | None = None

    def add(self, array: Array) -> None:
        self.count += 1
        if self.mean is None:
            self.mean = np.zeros(array.shape)
        self.mean += (array - self.mean) / self.count


def _over_all_but(axis: int, array: Array) -> Floats:
    others = tuple(i for i in range(array.ndim) if i != axis)
    return np.asarray(array.mean(axis=others, dtype=np.float64))


def weight_correction(op: Operator, rounded: Array, mean_input: Array) -> Floats:
    """What the real bias of a convolution or matrix product gains, one float64 for each result channel.

    `rounded` are the weights as they will be used, in real units and the shape
    of the operator's; `mean_input` is the mean of its first operand, shaped as
    that. Adding the correction makes the mean of the operator's sum (before
    its epilogue) what it was with the constant weights it has.
    """
    weights = constant_of(op.operands[1])
    assert weights is not None, "the weights are constant"
    error = rounded.astype(np.float64) - weights
    attributes = {name: value for name, value in op.attributes.items() if name != "epilogue"}
    bare = create(op.name, [Value(v.type) for v in op.operands[:2]], attributes)
    (moved,) = interpreter.evaluate(bare, [mean_input.astype(np.float32), error.astype(np.float32)])
    return -_over_all_but(channel_axis(op), moved)
