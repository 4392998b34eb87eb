"""Writes a graph of `nn.` and `q.` operators as an ONNX model that opens in Netron and runs in ONNX Runtime.

Epilogues are expanded into nodes, and operators on quantized tensors into
DequantizeLinear, the operator and QuantizeLinear, which other tools read.
"""

from __future__ import annotations

from collections.abc import Collection

from onnx import ModelProto, helper

from ..graph import Graph
from . import carried, compute, elementwise, movement, quantize, recurrent
from .apart import APART as APART
from .writer import Write, Writer, tensor_info

OPSET = 22
IR_VERSION = 10

WRITERS: dict[str, Write] = {
    **elementwise.WRITERS,
    **carried.WRITERS,
    **compute.WRITERS,
    **movement.WRITERS,
    **quantize.WRITERS,
    **recurrent.WRITERS,
}


def to_onnx(graph: Graph, apart: Collection[str] = ()) -> ModelProto:
    """The model; ModelError for an operator that ONNX cannot say (a chosen primitive, for one).

    Functions named in `apart`, of those in `apart.APART`, are written as the operators that they are made of.
    """
    writer = Writer(WRITERS, apart)
    for value in graph.inputs:
        writer.name(value, value.name or "input")
    writer.name_outputs(graph)
    for op in graph.operators:
        writer.operator(op)
    writer.outputs(graph)
    inputs = [tensor_info(writer.names[v], v.type) for v in graph.inputs]
    outputs = [tensor_info(n, v.type) for v, n in zip(graph.outputs, graph.output_names, strict=True)]
    proto = helper.make_graph(
        writer.nodes, graph.name, inputs, outputs, writer.initializers, value_info=writer.infos
    )
    return helper.make_model(
        proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="secateur"
    )
