"""The backend of TFLite files: no kernels, a writer. It takes quantized graphs that round as TFLite does."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from secateur.ir.errors import ModelError
from secateur.ir.graph import Graph
from secateur.ir.stages import QUANTIZED
from secateur.ir.support.progress import Progress, silent

from ...targets.target import Target
from ...targets.tflite import Tflite
from ..files import FileBackend
from .costs import Estimated
from .emit import Flat, emit
from .schema import schema
from .unwritable import refusals, refused


class TfliteBackend(FileBackend[Flat]):
    """Its files are whole: weights, quantization and operators."""

    name = "tflite"
    kinds = ("tflite",)
    pipeline = "canonicalize,fuse,tflite"
    takes = QUANTIZED
    rounding = "tflite"

    def check_graph(self, graph: Graph, target: Target) -> None:
        if reasons := refusals(graph):
            raise ModelError(refused(target.name, reasons))

    def emit(
        self,
        graph: Graph,
        target: Target,
        manifest: Mapping[str, Any] | None = None,
        progress: Progress = silent,
    ) -> Flat:
        progress("kernels", 0, 1)
        found = emit(graph, target, manifest or {})
        progress("kernels", 1, 1)
        return found

    def costs(self, target: Target) -> Estimated:
        assert isinstance(target.machine, Tflite), "the registry gives a target its backend"
        return Estimated(target.name, target.machine.array)

    def check_destination(self, path: Path, kind: str, dumps: Collection[str] = ()) -> None:
        super().check_destination(path, kind, dumps)
        schema()


BACKEND = TfliteBackend()
