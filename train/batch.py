"""The same graph at another batch: the leading extent of its inputs, and of what depends on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..ir.errors import ModelError
from ..ir.graph import Attributes, Graph, Operator, Value
from ..ir.opdef import TypeRuleError
from ..ir.registry import create

_EXTENTS = {"nn.reshape": "shape", "nn.expand": "shape", "nn.resize": "shape", "nn.slice": "sizes"}
"""Attributes that state the result's extents."""


def batch_of(graph: Graph) -> int:
    """The leading extent that all inputs share; ModelError where they share none."""
    extents = {v.type.shape[:1] for v in graph.inputs}
    if len(extents) != 1 or extents & {(), (0,)}:
        raise ModelError("the model's inputs have no batch in common, so it cannot be trained on batches")
    return extents.pop()[0]


def rebatched(graph: Graph, batch: int) -> tuple[Graph, dict[Value, Value]]:
    """A copy that takes `batch` images at once, and which value of it each of `graph` became.

    Types are inferred anew; a leading extent that an attribute states is scaled where the operand's was.
    ModelError, which names the operator, where one does not work at that batch, or an output has no batch.
    """
    old, copy = batch_of(graph), Graph(graph.name)
    mapping = {v: copy.add_input(_with_batch(v, batch), v.name) for v in graph.inputs}
    for op in graph.operators:
        new = copy.append(_rebuilt(op, mapping, batch, old))
        for before, after in zip(op.results, new.results, strict=True):
            after.name = before.name
            mapping[before] = after
    copy.set_outputs([mapping[v] for v in graph.outputs], graph.output_names)
    _check_outputs(graph, mapping, batch, old)
    return copy, mapping


def _with_batch(value: Value, batch: int) -> Any:
    return replace(value.type, shape=(batch, *value.type.shape[1:]))


def _rebuilt(op: Operator, mapping: Mapping[Value, Value], batch: int, old: int) -> Operator:
    operands = [mapping[v] for v in op.operands]
    scaled = any(a.type.shape != b.type.shape for a, b in zip(operands, op.operands, strict=True))
    attributes = _scaled(op, batch, old) if scaled else op.attributes
    try:
        return create(op.name, operands, attributes, op.loc)
    except TypeRuleError as error:
        raise ModelError(f"{op.called} does not take a batch of {batch}: {error}") from None


def _scaled(op: Operator, batch: int, old: int) -> Attributes:
    """The attributes with their leading extent brought from batch `old` to `batch`."""
    name = _EXTENTS.get(op.name)
    if name is None or not op[name] or op[name][0] % old:
        return op.attributes
    return {**op.attributes, name: (op[name][0] // old * batch, *op[name][1:])}


def _check_outputs(graph: Graph, mapping: Mapping[Value, Value], batch: int, old: int) -> None:
    for value, name in zip(graph.outputs, graph.output_names, strict=True):
        shape = value.type.shape
        wanted = (shape[0] // old * batch, *shape[1:]) if shape else shape
        if not shape or shape[0] % old or mapping[value].type.shape != wanted:
            raise ModelError(f"output '{name}' of shape {shape} has no batch, so the model cannot be trained")
