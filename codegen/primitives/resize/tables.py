"""Tables of what each position of a resized axis reads (`secateur.ir.resampling`), as kernels take them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secateur.ir.graph import Operator
from secateur.ir.resampling import nearest, positions, taps

from ..operator import Array


@dataclass(frozen=True, eq=False)
class AxisTable:
    """`index` and `weight` are (out, taps); `inside` tells which outputs of a crop lie within the input."""

    size: int
    index: Array
    weight: NDArray[np.float64]
    inside: Array

    @property
    def out(self) -> int:
        return int(self.index.shape[0])

    @property
    def taps(self) -> int:
        return int(self.index.shape[1])

    @property
    def identity(self) -> bool:
        """Whether the axis stays as it is."""
        same = self.taps == 1 and self.out == self.size and bool(self.inside.all())
        return same and bool((self.index[:, 0] == np.arange(self.size)).all() and (self.weight == 1).all())


def axis_table(op: Operator, axis: int) -> AxisTable:
    """The table of one axis of a `resize`."""
    size, out = op.operands[0].type.shape[axis], op["shape"][axis]
    crop = op["coordinates"] == "tf_crop_and_resize"
    inside = positions(op, axis).inside(size) if crop else np.ones(out, bool)
    if op["mode"] == "nearest":
        index = nearest(op, axis)[:, None].astype(np.int32)
        return AxisTable(size, index, np.ones(index.shape), inside)
    places, weights = taps(op, axis)
    return AxisTable(size, places.T.astype(np.int32), weights.T, inside)
