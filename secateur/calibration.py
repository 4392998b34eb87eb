"""Calibration data as the passes `quantize` and `half` want it."""

from __future__ import annotations

from pathlib import Path

from .host_executor import HostExecutor
from .ir.errors import SecateurError
from .ir.graph import Graph
from .ir.support.progress import Progress, silent
from .options import Fp16, Int8
from .passes.quantize.calibrate import CalibrationData
from .passes.quantize.calibration.data import open_source
from .passes.quantize.calibration.ranges import read_ranges


def range_data(precision: Fp16, graph: Graph, progress: Progress = silent) -> CalibrationData | None:
    """The images for `graph` that overflows are looked for on; None where none are given."""
    if precision.calibration is None:
        return None
    images, preparation = precision.images, precision.preparation
    return calibration_data(
        Int8(precision.calibration, images=images, preparation=preparation), graph, progress
    )


def calibration_data(quantize: Int8, graph: Graph, progress: Progress = silent) -> CalibrationData:
    """The images and ranges for `graph`; SecateurError where there are none or they do not fit it."""
    try:
        source = open_source(quantize.calibration, graph, quantize.preparation, quantize.images)
    except OSError as error:
        raise SecateurError(f"calibration {quantize.calibration}: {error.strerror or error}") from None
    ranges = None if quantize.ranges is None else read_ranges(Path(quantize.ranges))
    return CalibrationData(source, ranges, source.labelled, HostExecutor(), progress)
