"""The backend of TFLite files: no kernels, a writer. It takes quantized graphs that round as TFLite does."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from secateur.ir.choice import CostTable
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph
from secateur.ir.stages import QUANTIZED
from secateur.ir.support.atomic import check_writable, replacing
from secateur.ir.support.progress import Progress, silent

from ...targets.target import Target
from ..backend import Backend, Dumps
from ..uncounted import Uncounted
from .emit import Flat, emit
from .schema import schema


class TfliteBackend(Backend[Flat]):
    """Its files are whole: weights, quantization and operators."""

    name = "tflite"
    kinds = ("tflite",)
    pipeline = "canonicalize,fuse,tflite"
    takes = QUANTIZED
    rounding = "tflite"

    def costs(self, target: Target) -> CostTable:
        return Uncounted(target.name)

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

    def write(
        self,
        emitted: Flat,
        path: Path,
        kind: str = "",
        dumps: Dumps | None = None,
        check: Callable[[Path], None] | None = None,
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as draft:
            draft.write_bytes(emitted.data)
            if check is not None:
                check(draft)
        return path

    def texts(self, emitted: Flat) -> Iterator[tuple[str, str]]:
        return iter(())

    def check_destination(self, path: Path, kind: str, dumps: Collection[str] = ()) -> None:
        if kind not in ("", *self.kinds):
            raise SecateurError(f"unknown kind of artifact '{kind}'; known: {', '.join(self.kinds)}")
        if path.is_dir():
            raise SecateurError(f"{path} is a folder; it is not replaced")
        check_writable(path, make_folders=True)
        schema()


BACKEND = TfliteBackend()
