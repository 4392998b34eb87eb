"""Operators that are read only where all their operands are known: what exporters write to compute shapes,
indices and tables. ONNX's own reference implementation computes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from onnx import NodeProto, helper

from ..graph import Value
from ..types import DType, TensorType
from .checks import ONNX_DOMAINS, least_inputs
from .node import Node, NodeError
from .tensors import Array


def _largest(arrays: Sequence[Array]) -> tuple[int, ...]:
    """No larger than the largest operand."""
    return max((a.shape for a in arrays), key=math.prod)


def _broadcast(arrays: Sequence[Array]) -> tuple[int, ...]:
    return np.broadcast_shapes(*(a.shape for a in arrays))


def _gathered(arrays: Sequence[Array]) -> tuple[int, ...]:
    """GatherND: for each list of coordinates a part of the data."""
    data, indices = arrays[0].shape, arrays[1].shape
    return (*indices[:-1], *data) if indices else data


def _one_hot(arrays: Sequence[Array]) -> tuple[int, ...]:
    depth = int(arrays[1].reshape(-1)[0]) if arrays[1].size else 0
    return (*arrays[0].shape, max(depth, 0))


def _ranked(arrays: Sequence[Array]) -> tuple[int, ...]:
    """NonZero: coordinates of every element."""
    return (max(arrays[0].ndim, 1), arrays[0].size)


def _mel_weights(arrays: Sequence[Array]) -> tuple[int, ...]:
    """Bins of the spectrum x bins of the scale."""
    bins, length = (max(0, int(a.reshape(-1)[0])) if a.size else 0 for a in arrays[:2])
    return (length // 2 + 1, bins)


Bound = Callable[[Sequence[Array]], tuple[int, ...]]

COMPUTED: dict[str, Bound] = {
    **dict.fromkeys(
        ("Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh",
         "Asinh", "Acosh", "Atanh", "BitwiseNot", "ArgMin", "Compress",
         "CumSum", "GatherElements", "ScatterElements", "ScatterND", "Scatter", "Trilu", "TopK",
         "Unique", "ReverseSequence", "Det"),
        _largest,
    ),
    **dict.fromkeys(("BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor"), _broadcast),
    "GatherND": _gathered,
    "OneHot": _one_hot,
    "NonZero": _ranked,
    "MelWeightMatrix": _mel_weights,
}  # fmt: skip
"""Each operator, with a bound on the shape of its results."""

_SCALARS = {"CumSum": (1,), "OneHot": (1,), "MelWeightMatrix": range(5)}
"""Operands that exporters write with an axis of extent 1 as well, as ONNX Runtime takes them."""


def is_computable(node: NodeProto) -> bool:
    """Whether the node could be computed, were its operands known."""
    return node.domain in ONNX_DOMAINS and node.op_type in COMPUTED


def compute(node: Node, arrays: Sequence[Array | None]) -> list[Value]:
    """The results of a node on operands that are known; NodeError where it has none."""
    present = [a for a in arrays if a is not None]
    if len(present) < (least := least_inputs(node.type, node.opset)):
        raise NodeError(f"takes at least {least} inputs, the node has {len(present)}")
    node.builder.count(TensorType(COMPUTED[node.type](present), DType.F64))
    return [node.constant(array) for array in _evaluated(node, arrays)]


def _evaluated(node: Node, arrays: Sequence[Array | None]) -> list[Array]:
    from onnx.reference import ReferenceEvaluator  # here, since few models need it and it takes a while

    proto, opset = node.proto, node.opset
    if node.type == "Scatter":  # ScatterElements, as opsets 9 and 10 called it
        proto, opset = NodeProto(), 11
        proto.CopyFrom(node.proto)
        proto.op_type = "ScatterElements"
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(helper.make_graph([proto], "known", [], []), opset_imports=opsets)
    scalars = _SCALARS.get(node.type, ())
    feeds = {
        name: a.reshape(()) if number in scalars and a.size == 1 else a
        for number, (name, a) in enumerate(zip(node.proto.input, arrays, strict=True))
        if a is not None
    }
    for name in node.proto.output:
        model.graph.output.add(name=name)
    try:
        with np.errstate(all="ignore"):
            found = ReferenceEvaluator(model).run(list(node.proto.output), feeds)
    except Exception as error:  # whatever foreign code raises on operands that do not fit
        raise NodeError(f"cannot be computed: {type(error).__name__}: {error}") from None
    return [np.asarray(array) for array in found]
