"""What a network computes as plain rows, for a peer that knows nothing of ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx
from onnx import helper

_KNOWN = ("Conv", "Gemm", "Relu", "Add", "MaxPool", "AveragePool", "GlobalAveragePool", "Flatten")
_POOLS = ("MaxPool", "AveragePool")
Step = dict[str, Any]


def steps_of(model: onnx.ModelProto) -> list[Step]:
    """The operators in order, batch normalization folded into the convolution before it.

    Values go by name, the first one is `input`; of weights only shapes stand there. ValueError for an
    operator that is not known.
    """
    shapes = {w.name: list(w.dims) for w in model.graph.initializer}
    same, found = {model.graph.input[0].name: "input"}, list[Step]()
    for node in model.graph.node:
        if node.op_type == "BatchNormalization":
            same[node.output[0]] = same.get(node.input[0], node.input[0])
        elif node.op_type in _KNOWN:
            found.append(_step(node, shapes, same))
        else:
            raise ValueError(f"{node.name}: {node.op_type} is none of {', '.join(_KNOWN)}")
    return found


def _step(node: onnx.NodeProto, shapes: Mapping[str, list[int]], same: Mapping[str, str]) -> Step:
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    weights = [shapes[name] for name in node.input if name in shapes]
    step: Step = {
        "op": node.op_type,
        "inputs": [same.get(name, name) for name in node.input if name not in shapes],
        "output": node.output[0],
    }
    if weights:
        step["weight"] = weights[0]
    if node.op_type in ("Conv", *_POOLS):
        step |= {"stride": attributes.get("strides", [1, 1])[0], "pad": attributes.get("pads", [0] * 4)[0]}
    if node.op_type in _POOLS:
        step |= {"kernel": attributes["kernel_shape"][0], "ceil": bool(attributes.get("ceil_mode"))}
    return step
