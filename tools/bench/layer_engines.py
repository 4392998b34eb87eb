"""Engines that run one convolution layer and say how long it alone took, conversions around it left out.

All run in this process, one thread each, so that they can take turns of a few runs.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, ExitStack
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.graph import Graph
from secateur.tools.bench.layer_model import INPUT, LayerModel

if TYPE_CHECKING:
    from secateur.costs.measure import Round

Array = NDArray[Any]


class LayerEngine(ABC):
    """`run` computes and remembers the layer's time; `seconds` gives those of all runs so far."""

    @abstractmethod
    def run(self, x: Array) -> Array: ...

    @abstractmethod
    def seconds(self) -> list[float]: ...


class OpenVinoLayer(LayerEngine):
    """OpenVINO's convolution by its own counters; it must compute in `precision`, "u8" or "f32"."""

    def __init__(self, model: Path, precision: str) -> None:
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": 1,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "f32",
            "PERF_COUNT": True,
        }
        compiled = import_module("openvino").Core().compile_model(str(model), "CPU", options)
        self.kernel = _executed(compiled, precision)
        self._request = compiled.create_infer_request()
        self._times: list[float] = []

    def run(self, x: Array) -> Array:
        result = np.array(self._request.infer([x], share_inputs=True, share_outputs=True)[0])
        rows = [row for row in self._request.get_profiling_info() if row.node_type == "Convolution"]
        self._times.append(sum(row.real_time.total_seconds() for row in rows))
        return result

    def seconds(self) -> list[float]:
        return self._times


def _executed(compiled: Any, precision: str) -> str:
    """The kernel OpenVINO runs for the layer; ValueError where it reads or writes another precision."""
    for operator in compiled.get_runtime_model().get_ops():
        about = {key: value.astype(str) for key, value in operator.get_rt_info().items() if key in _ASKED}
        if about["layerType"] == "Convolution":
            found = (about["runtimePrecision"], about["outputPrecisions"])
            if found != (precision, precision):
                raise ValueError(f"OpenVINO runs the layer from {found[0]} to {found[1]}, not in {precision}")
            return str(about["primitiveType"])
    raise ValueError("OpenVINO runs the layer without a convolution")


_ASKED = {"layerType", "runtimePrecision", "outputPrecisions", "primitiveType"}


class OnnxRuntimeLayer(LayerEngine):
    """ONNX Runtime's convolution, the operator `kind`, by the profile it writes."""

    def __init__(self, model: Path, kind: str) -> None:
        onnxruntime = import_module("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_profiling = True
        options.profile_file_prefix = str(model.with_suffix(".profile"))
        providers = ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(str(model), options, providers=providers)
        self._kind = kind

    def run(self, x: Array) -> Array:
        return np.asarray(self._session.run(None, {INPUT: x})[0])

    def seconds(self) -> list[float]:
        """Of all runs; ends the profile. ValueError where the model ran without the operator."""
        profile = Path(self._session.end_profiling())
        events = json.loads(profile.read_text())
        profile.unlink()
        times = [1e-6 * e["dur"] for e in events if e.get("args", {}).get("op_name") == self._kind]
        if not times:
            raise ValueError(f"ONNX Runtime runs the layer without {self._kind}")
        return times


class OurLayer(LayerEngine):
    """Secateur's convolution by the artifact's profile; in the Winograd domain with a `tile`, else direct."""

    def __init__(self, model: LayerModel, path: Path, tile: tuple[int, int] | None) -> None:
        import secateur

        self.graph = _fused(path)
        if tile is not None:
            _to_winograd(self.graph, model, tile)
        artifact = path.with_suffix(".so")
        secateur.compile(self.graph, artifact, target="host", pipeline="select,layout,memory")
        self._session = secateur.load(artifact)
        self._times: list[float] = []

    def run(self, x: Array) -> Array:
        rows = self._session.profile({INPUT: x})
        self._times.append(1e-9 * sum(row.ns for row in rows if row.operator.endswith("_conv")))
        return next(iter(self._session.run({INPUT: x}).values()))

    def seconds(self) -> list[float]:
        return self._times


class OurProducts(LayerEngine):
    """The matrix products alone of Secateur's Winograd convolution; what they give means nothing."""

    def __init__(self, layer: OurLayer) -> None:
        self._open = ExitStack()
        self._round = self._open.enter_context(_products(layer.graph))
        self._times: list[float] = []

    def run(self, x: Array) -> Array:
        """Runs on ones, whatever `x` is."""
        self._times.append(sum(self._round().values()))
        return x

    def seconds(self) -> list[float]:
        """Of all runs; ends the session."""
        self._open.close()
        return self._times


def _products(graph: Graph) -> AbstractContextManager[Round]:
    from secateur.codegen.backends.registry import backend_of
    from secateur.codegen.primitives.chosen import chosen_as
    from secateur.codegen.primitives.conv.winograd.int8 import LinearWinograd
    from secateur.codegen.targets.host import host
    from secateur.costs.candidates import candidate
    from secateur.costs.measure import rounds
    from secateur.costs.samples import distance_of

    op = next(op for op in graph.operators if op.name == "q.winograd_conv")
    choice = next(
        c for c in backend_of(host()).costs(host()).choices(op) if c.primitive == LinearWinograd.name
    )
    chosen = chosen_as(op, choice)
    kernel = LinearWinograd().products(chosen, host())
    return rounds([candidate(chosen, host(), kernel=kernel)], host(), distance_of(0))


def _fused(path: Path) -> Graph:
    from secateur.model import read
    from secateur.passes.framework.manager import PassManager
    from secateur.passes.framework.pipeline import parse_pipeline

    return PassManager(parse_pipeline("canonicalize,fuse")).run(read(path)).graph


def _to_winograd(graph: Graph, model: LayerModel, tile: tuple[int, int]) -> None:
    """Quantizes the graph's convolution anew, for `tile`, on the model's calibration samples."""
    from secateur.passes.winograd.winograd import create_winograd, winograd_form

    conv = next(op for op in graph.operators if op.name == "q.linear_conv")
    samples = np.concatenate([model.stored(x) for x in model.samples])
    new = create_winograd(conv, winograd_form(conv, model.weight, tile, samples), tile)
    graph.insert_before(conv, new)
    graph.replace_value(conv.result, new[-1].result)
    graph.remove_dead()
