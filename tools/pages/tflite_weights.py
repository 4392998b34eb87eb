"""The weights of a TFLite file, whoever made it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.codegen.backends.tflite.contents import Tensor, read_contents
from secateur.ir.errors import ModelError

from .weights import Weights, pruned_to, rounded

FILTERS_FIRST = {
    "CONV_2D": (0, 3, 1, 2),
    "TRANSPOSE_CONV": (0, 3, 1, 2),
    "DEPTHWISE_CONV_2D": (3, 0, 1, 2),
    "FULLY_CONNECTED": (0, 1),
}
"""Axes of the weights of what multiplies, as filters x channels x rows x columns."""
_WHOLE = 8


def weights_in(path: Path, bits: int = _WHOLE, pruned: float = 0.0) -> tuple[Weights, ...]:
    """The weights of what multiplies, filters first; ModelError where it is no TFLite file, or a damaged one.

    Of bytes the zero points are taken off. Of 8 bits they are as they are then; of fewer, and floats, they
    are rounded with a scale for each filter. Of each tensor the share `pruned` of the weights, the smallest
    in size, are zero.
    """
    found = {}
    for op in read_contents(path).operators:
        order, weights = FILTERS_FIRST.get(op.kind), op.inputs[1] if len(op.inputs) > 1 else None
        if order is None or weights is None or not weights.constant:
            continue
        if weights.dtype in ("int8", "uint8", "float32"):
            try:
                found[weights.index] = Weights(weights.name, _integers(weights, order, bits, pruned))
            except ValueError as error:
                raise ModelError(f"{path}: is damaged: {weights.name}: {error}") from None
    return tuple(found.values())


def _integers(weights: Tensor, order: tuple[int, ...], bits: int, pruned: float) -> NDArray[np.int8]:
    whole = weights.dtype != "float32"
    values = weights.elements
    if whole:
        values = values.astype(np.int32) - _along(weights, weights.zeros or (0,))
    if not whole or bits < _WHOLE:
        values = (values * _along(weights, weights.scales or (1.0,))).astype(np.float32)
        return rounded(pruned_to(values.transpose(order), pruned), bits)
    # Less a zero point a byte may need nine bits: it is kept modulo 256, which is as much to store.
    return pruned_to(values.transpose(order), pruned).astype(np.int8)


def _along(weights: Tensor, numbers: tuple[Any, ...]) -> NDArray[Any]:
    """One number for all, or for each index of the tensor's axis."""
    shape = [1] * len(weights.shape)
    if len(numbers) > 1:
        shape[weights.axis] = len(numbers)
    return np.array(numbers).reshape(shape)
