"""Quantization by keyword: what the caller asks for, as a pass of the pipeline with its data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from .codegen.build import Progress, silent
from .executor import HostExecutor
from .ir.errors import SecateurError
from .ir.graph import Graph
from .ir.support.words import listed
from .passes.framework.pipeline import format_pass
from .passes.quantize.calibrate import CalibrationData
from .passes.quantize.calibration.data import open_source
from .passes.quantize.calibration.images import Preparation
from .passes.quantize.calibration.ranges import read_ranges
from .passes.quantize.quantize import Quantize

Calibration = str | Path | Iterable[Mapping[str, Any]]
FLOAT_PIPELINE = "canonicalize,fuse,select,layout,memory"


@dataclass(frozen=True, eq=False)
class Request:
    """The keywords of `secateur.compile` and `secateur.quantize` that say how to quantize; see there."""

    calibration: Calibration | None = None
    ranges: str | Path | None = None
    method: str = "mse"
    percent: float = 99.99
    min_sqnr: float | None = None
    max_drop: float | None = None
    layer_sqnr: float = 20.0
    winograd: str = "auto"
    float_layers: Sequence[str] = ()
    bias_correction: bool = True
    equalize: bool = False
    reduce_range: bool = False
    layers: str = "auto"
    preparation: Preparation | None = None
    images: int | None = None

    def step(self) -> Quantize:
        """The pass, without its data."""
        return Quantize(
            self.method,
            float(self.percent),
            float(self.layer_sqnr),
            None if self.min_sqnr is None else float(self.min_sqnr),
            None if self.max_drop is None else float(self.max_drop),
            self.winograd,
            "\n".join(self.float_layers),
            self.bias_correction,
            self.equalize,
            self.reduce_range,
            self.layers,
        )

    def pipeline(self) -> str:
        """The default pipeline with the pass behind fusion."""
        return FLOAT_PIPELINE.replace("fuse,", f"fuse,{format_pass(self.step())},")

    def data(self, graph: Graph, progress: Progress = silent) -> CalibrationData:
        """The images and ranges for `graph`; SecateurError where there are none or they do not fit it."""
        if self.calibration is None:
            raise SecateurError(
                "quantization needs calibration data: a folder of images, .npz, .npy, a list, or random:N"
            )
        try:
            source = open_source(self.calibration, graph, self.preparation, self.images)
        except OSError as error:
            raise SecateurError(f"calibration {self.calibration}: {error.strerror or error}") from None
        ranges = None if self.ranges is None else read_ranges(Path(self.ranges))
        labelled = source.labelled if self.max_drop is not None else None
        return CalibrationData(source, ranges, labelled, HostExecutor(), progress)


def request(kind: str | None, calibration: Calibration | None, options: Mapping[str, Any]) -> Request | None:
    """What the keywords ask for; None without quantization.

    SecateurError for another kind than int8, an unknown option, or options of a quantization not asked for.
    """
    if kind not in (None, "int8"):
        raise SecateurError(f"unknown quantization '{kind}'; known: int8")
    known = [f.name for f in fields(Request) if f.name != "calibration"]
    if unknown := [name for name in options if name not in known]:
        raise SecateurError(f"no option {listed(unknown, known)}; known: {', '.join(known)}")
    if kind is None and (calibration is not None or options):
        given = [*(["calibration"] if calibration is not None else []), *options]
        raise SecateurError(f"{', '.join(given)} given without quantize='int8'")
    return Request(calibration, **options) if kind is not None else None
