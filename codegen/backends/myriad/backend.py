"""The backend of OpenVINO's Myriad plugin: no kernels, an ONNX model in float16 that it reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from onnx import helper, version_converter

from secateur.ir.errors import ModelError
from secateur.ir.graph import Graph, Operator, constant_of
from secateur.ir.onnx_writer import APART, to_onnx
from secateur.ir.stages import READ
from secateur.ir.support.progress import Progress, silent

from ...targets.files import Files
from ...targets.target import Target
from ..files import FileBackend
from .half import in_half, too_large
from .table import refusals

OPSET, IR_VERSION = 14, 8
"""What OpenVINO 2022.3 reads, and what the oldest operators that are written need."""


@dataclass(frozen=True)
class Handed:
    """The bytes of a model, and what is said of them."""

    data: bytes
    manifest: Mapping[str, Any]


class MyriadBackend(FileBackend[Handed]):
    """Its files are ONNX models; OpenVINO compiles them."""

    name = "myriad"
    kinds = ("onnx",)
    pipeline = "canonicalize,fuse{spread=false}"  # there is no layer that spreads
    takes = READ
    quantizes = False

    def emit(
        self,
        graph: Graph,
        target: Target,
        manifest: Mapping[str, Any] | None = None,
        progress: Progress = silent,
    ) -> Handed:
        progress("kernels", 0, 1)
        if any(value.type.quant is not None for value in graph.values()):
            raise ModelError(f"{target.name} computes in float16: give a network in float, and no --quantize")
        if found := [*refusals(to_onnx(graph, APART)), *too_large(graph)]:
            lines = "\n".join(f"  {line}" for line in found)
            raise ModelError(f"for {target.name}, OpenVINO 2022.3 has no form of:\n{lines}")
        model = _older(in_half(graph))
        data = model.SerializeToString()
        progress("kernels", 1, 1)
        return Handed(data, {**(manifest or {}), **_facts(graph, target, model, data)})


UNCHANGED = ("ConstantOfShape", "EyeLike", "Pad")
"""As they are written they stand in the older opset, too; ONNX's converter knows no way for them."""
HIDDEN = "secateur.unchanged"


def _older(graph: Graph) -> Any:
    """The graph as ONNX of an opset that OpenVINO 2022.3 reads."""
    model = to_onnx(graph, APART)
    kept = [node for node in model.graph.node if node.op_type in UNCHANGED]
    for node in kept:
        node.domain = HIDDEN  # the converter leaves other domains alone
    model.opset_import.append(helper.make_opsetid(HIDDEN, 1))
    try:
        made = version_converter.convert_version(model, OPSET)
    except RuntimeError as error:
        raise ModelError(f"an operator has no form in ONNX opset {OPSET}: {error}") from None
    for node in made.graph.node:
        node.domain = "" if node.domain == HIDDEN else node.domain
    made.opset_import.remove(helper.make_opsetid(HIDDEN, 1))
    made.ir_version = IR_VERSION
    return made


def _facts(graph: Graph, target: Target, model: Any, data: bytes) -> dict[str, Any]:
    """What the manifest says: the target, operators with their work, and sizes."""
    machine = target.machine
    assert isinstance(machine, Files), "the registry gives a target its backend"
    computed = [op for op in graph.operators if op.name != "nn.constant"]
    return {
        "target": {"name": target.name},
        "then": machine.then,
        "operators": [{"name": op.name, "loc": op.loc, "macs": op.macs} for op in computed],
        "weights_bytes": 2 * sum(_elements(op) for op in graph.operators),
        "arena_bytes": max((_live_bytes(op) for op in computed), default=0),
        "bytes": len(data),
        "file_operators": sum(Counter(node.op_type for node in model.graph.node).values()),
    }


def _elements(op: Operator) -> int:
    array = constant_of(op.results[0])
    return 0 if array is None else prod(array.shape)


def _live_bytes(op: Operator) -> int:
    return sum(2 * v.type.elements for v in (*op.operands, *op.results) if not v.is_constant)


BACKEND = MyriadBackend()
