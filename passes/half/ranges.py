"""The largest magnitudes of a network's values on calibration data: what may overflow binary16."""

from __future__ import annotations

import numpy as np

from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Value
from secateur.ir.types import DType

from ..quantize.calibrate import CalibrationData


def largest(graph: Graph, data: CalibrationData) -> dict[Value, float]:
    """Of every float32 value that is no constant; SecateurError where there is no batch."""
    values = [v for v in graph.values() if _seen(v)]
    copy = graph.clone()
    found = dict.fromkeys(values, 0.0)
    watched = [v for v in copy.values() if _seen(v)]
    done = 0
    for done, arrays in enumerate(data.execute(copy, data.batches, watched), 1):
        for value, array in zip(values, arrays, strict=True):
            found[value] = max(found[value], float(np.abs(array).max(initial=0.0)))
        data.progress("calibration", done, 0)
    if not done:
        raise SecateurError("calibration: there is not one image to run")
    return found


def _seen(value: Value) -> bool:
    return value.type.dtype == DType.F32 and not value.is_constant
