"""A float model quantized to ONNX, for other runtimes too."""

from __future__ import annotations

from pathlib import Path

from .calibration import calibration_data
from .codegen.backends.registry import backend_of
from .codegen.targets.find import find
from .ir.errors import SecateurError
from .ir.onnx_writer import to_onnx
from .ir.support.atomic import write_whole
from .ir.support.progress import Progress, silent
from .model import Model, graph_of
from .options import Inputs, Int8, Limits
from .passes.framework.manager import PassManager
from .passes.quantize.quantize import quantized_pairs
from .passes.quantize.report import QuantizationReport
from .pipeline import in_float32, quantize_step
from .prepare import prepare


def quantize(
    model: Model,
    int8: Int8,
    output: str | Path | None = None,
    target: str = "host",
    *,
    inputs: Inputs = Inputs(),
    limits: Limits = Limits(),
    progress: Progress = silent,
) -> QuantizationReport:
    """Quantizes a float `model` and writes it to `output` as ONNX with QuantizeLinear and DequantizeLinear.

    With `reduce_range=True` weights have 7 bits, with which ONNX Runtime and OpenVINO are exact on processors
    without VNNI too; with 8 their sums of two products may saturate there. The model holds no Winograd tiles,
    which are for `compile` to choose; times in the report are estimates for `target`. Of the `limits`
    `min_sqnr` alone says something about it. Without `output` nothing is written.

    Raises SecateurError for anything wrong with the request or the model.
    """
    if limits != Limits(min_sqnr=limits.min_sqnr):
        raise SecateurError("a quantized model has no plan yet: of the limits, only min_sqnr is for it")
    row = find(target)
    graph = graph_of(model, inputs)
    data = calibration_data(int8, graph, progress)
    fused = PassManager(prepare(in_float32(graph, "canonicalize,fuse"), row)).run(graph).graph
    pairs, report = quantized_pairs(
        fused, data, quantize_step(int8, limits.min_sqnr, row), backend_of(row).costs(row)
    )
    if output is not None:
        write_whole(Path(output), to_onnx(pairs).SerializeToString(deterministic=True))
    return report
