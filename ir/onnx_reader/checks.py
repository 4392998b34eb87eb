"""The ONNX specification's static rules for one node, read off the operator's schema.

ONNX Runtime holds models to the same rules when it loads them, so that a model which runs anywhere keeps
them. What a schema says of shapes is left to the type rules of the IR.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import onnx
from onnx import NodeProto
from onnx.defs import OpSchema

from ..support.shown import shown
from ..types import DType
from .node import Input, NodeError

ONNX_DOMAINS = ("", "ai.onnx")

SINGLE, OPTIONAL = OpSchema.FormalParameterOption.Single, OpSchema.FormalParameterOption.Optional

OF_ANY_AGE = frozenset({"LayerNormalization"})
"""ONNX Runtime's optimizer writes these into models of every opset."""

_NAMES = {
    "f32": "float", "f16": "float16", "f64": "double", "i8": "int8", "u8": "uint8", "i16": "int16",
    "u16": "uint16", "i32": "int32", "u32": "uint32", "i64": "int64", "u64": "uint64", "bool": "bool",
}  # fmt: skip


@cache
def schema_of(operator: str, opset: int) -> OpSchema | None:
    """ONNX's declaration of an operator as it was in an opset; None where it was not there."""
    try:
        return onnx.defs.get_schema(operator, opset, "")
    except onnx.defs.SchemaError:
        return None


def check_node(node: NodeProto, opset: int) -> None:
    """NodeError where the node breaks a rule that needs no types: names, attributes, counts, opset."""
    _check_attributes(node)
    if not any(node.output):
        raise NodeError("has no outputs")
    schema = schema_of(node.op_type, opset) if node.domain in ONNX_DOMAINS else None
    if schema is not None:
        _check_counts(node, schema)
        _check_known_attributes(node, schema)
    elif node.domain in ONNX_DOMAINS:
        _check_age(node, opset)


def _check_attributes(node: NodeProto) -> None:
    names = [a.name for a in node.attribute]
    if "" in names:
        raise NodeError("an attribute has no name")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise NodeError(f"attribute '{shown(twice)}' is given twice")


def _check_counts(node: NodeProto, schema: OpSchema) -> None:
    inputs = len(node.input)
    while inputs and not node.input[inputs - 1]:
        inputs -= 1
    _check_count(inputs, schema.max_input, "takes", "input")
    _check_count(len(node.output), schema.max_output, "gives", "output")


def least_inputs(operator: str, opset: int) -> int:
    """How many operands the schema asks for."""
    schema = schema_of(operator, opset)
    return int(schema.min_input) if schema is not None else 0


def _check_count(count: int, most: int, does: str, what: str) -> None:
    if count > most:
        raise NodeError(f"{does} at most {most} {what}{'s' * (most != 1)}, the node has {count}")


def _check_known_attributes(node: NodeProto, schema: OpSchema) -> None:
    unknown = [a.name for a in node.attribute if a.name not in schema.attributes]
    if unknown:
        listed = ", ".join(sorted(schema.attributes)) or "none"
        raise NodeError(
            f"has no attribute '{shown(unknown[0])}' as of opset {schema.since_version}; known: {listed}"
        )


def _check_age(node: NodeProto, opset: int) -> None:
    """An operator that came later than the opset that the model declares."""
    newest = schema_of(node.op_type, onnx.defs.onnx_opset_version())
    if newest is not None and node.op_type not in OF_ANY_AGE:
        first = min(s.since_version for s in _versions(node.op_type))
        raise NodeError(f"exists since opset {first}, the model declares opset {opset}")


@cache
def _versions(operator: str) -> tuple[OpSchema, ...]:
    every = onnx.defs.get_all_schemas_with_history()
    return tuple(s for s in every if s.name == operator and s.domain == "")


# Types -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Formal:
    """An operand as the schema declares it; where `together`, all operands of its `kind` have one type."""

    name: str
    kind: str
    allowed: frozenset[str]
    together: bool


@cache
def _formals(operator: str, opset: int) -> tuple[Formal, ...]:
    schema = schema_of(operator, opset)
    return tuple(
        Formal(f.name, f.type_str, frozenset(f.types), f.option in (SINGLE, OPTIONAL) or f.is_homogeneous)
        for f in (schema.inputs if schema is not None else ())
    )


def check_types(node: NodeProto, opset: int, inputs: Sequence[Input]) -> None:
    """NodeError where operands have element types that the schema does not allow, alone or together."""
    formals = _formals(node.op_type, opset) if node.domain in ONNX_DOMAINS else ()
    bound: dict[str, tuple[int, DType]] = {}
    for i, value in enumerate(inputs if formals else ()):
        if value is not None and not isinstance(value, tuple):
            formal, dtype = formals[min(i, len(formals) - 1)], value.type.dtype
            _check_allowed(node, formal, i, dtype)
            if formal.together:
                _check_together(bound.setdefault(formal.kind, (i, dtype)), i, dtype)


def _check_allowed(node: NodeProto, formal: Formal, index: int, dtype: DType) -> None:
    if f"tensor({_NAMES[dtype.value]})" not in formal.allowed:
        raise NodeError(f"input {index} ({formal.name}) is {dtype.value}, which {node.op_type} does not take")


def _check_together(first: tuple[int, DType], index: int, dtype: DType) -> None:
    if first[1] != dtype:
        raise NodeError(
            f"operands have different element types: {first[1].value}, {dtype.value} "
            f"(inputs {first[0]} and {index})"
        )
