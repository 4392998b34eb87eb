"""Functions: those of the model, and operators that ONNX defines by simpler ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, NodeProto, TypeProto, helper

from ..errors import ModelError
from ..graph import Value
from ..support.shown import shown
from .checks import ONNX_DOMAINS, schema_of
from .node import Body, Input, NodeError

Attributes = Mapping[str, AttributeProto]


def functions_of(functions: Sequence[FunctionProto]) -> dict[tuple[str, str, str], FunctionProto]:
    """A model's functions by domain, name and overload; ModelError where two have the same."""
    found: dict[tuple[str, str, str], FunctionProto] = {}
    for function in functions:
        key = (function.domain, function.name, function.overload)
        if key in found:
            raise ModelError(f"function '{shown(function.name)}' is defined twice")
        found[key] = function
    return found


def body_of(function: FunctionProto) -> Body:
    """The function's body; what is declared of values inside is advice, since types depend on the call."""
    return Body(function.node, list(function.input), list(function.output))


def opsets_of(function: FunctionProto) -> dict[str, int]:
    """The version of each domain's operators in the body; NodeError where ONNX's is not known."""
    found = {("" if o.domain in ONNX_DOMAINS else o.domain): int(o.version) for o in function.opset_import}
    newest = onnx.defs.onnx_opset_version()
    if not 1 <= found.get("", 1) <= newest:
        raise NodeError(f"the function uses opset {found['']}; known: up to {newest}")
    return found


def arguments(function: FunctionProto, call: NodeProto) -> dict[str, AttributeProto]:
    """The function's attributes in a call: as given, else its defaults."""
    defaults = {a.name: a for a in function.attribute_proto}
    given = {a.name: a for a in call.attribute}
    unknown = set(given) - set(defaults) - set(function.attribute)
    if unknown:
        raise NodeError(f"the function has no attribute '{shown(min(unknown))}'")
    return {**defaults, **given}


# References to a call's attributes ---------------------------------------------------------------------


def resolved(node: NodeProto, attributes: Attributes | None) -> NodeProto:
    """The node, its references to attributes of the function's call replaced; one not given is left out."""
    if not _refers(node):
        return node
    if attributes is None:
        raise NodeError("refers to a function's attribute, but stands in none")
    copy = NodeProto()
    copy.CopyFrom(node)
    _resolve(copy, attributes)
    return copy


def _refers(node: NodeProto) -> bool:
    return any(a.ref_attr_name or any(map(_refers, a.g.node)) for a in node.attribute)


def _resolve(node: NodeProto, attributes: Attributes) -> None:
    given = [_argument(a, attributes) for a in node.attribute]
    del node.attribute[:]
    node.attribute.extend(a for a in given if a is not None)
    for attribute in node.attribute:
        _resolve_graph(attribute.g, attributes)


def _resolve_graph(graph: GraphProto, attributes: Attributes) -> None:
    for node in graph.node:
        _resolve(node, attributes)


def _argument(attribute: AttributeProto, attributes: Attributes) -> AttributeProto | None:
    if not attribute.ref_attr_name:
        return attribute
    if attribute.ref_attr_name not in attributes:
        return None
    found = AttributeProto()
    found.CopyFrom(attributes[attribute.ref_attr_name])
    if attribute.type != found.type:
        raise NodeError(f"attribute '{shown(attribute.name)}' refers to one of another kind")
    found.name = attribute.name
    return found


# ONNX's own definitions --------------------------------------------------------------------------------


def defined_by_onnx(node: NodeProto, opset: int, inputs: Sequence[Input] | None) -> FunctionProto | None:
    """The function by which ONNX defines the operator; its text may depend on the types of `inputs`.

    Without `inputs` the answer only says whether there is one.
    """
    schema: Any = schema_of(node.op_type, opset) if node.domain in ONNX_DOMAINS else None
    if schema is None:
        return None
    plain = [v for v in schema.function_opset_versions if v <= opset]
    if plain:
        text = schema.get_function_with_opset_version(max(plain))
    else:
        typed = [v for v in schema.context_dependent_function_opset_versions if v <= opset]
        if not typed:
            return None
        types = [_type(value) for value in inputs or ()]
        text = schema.get_context_dependent_function_with_opset_version(
            max(typed), node.SerializeToString(), types
        )
    return _with_defaults(FunctionProto.FromString(text), schema.attributes)


def _type(value: Input) -> bytes:
    if not isinstance(value, Value):
        return bytes(TypeProto().SerializeToString())
    number = helper.np_dtype_to_tensor_dtype(value.type.dtype.numpy)
    return bytes(helper.make_tensor_type_proto(number, value.type.shape).SerializeToString())


def _with_defaults(function: FunctionProto, declared: Mapping[str, Any]) -> FunctionProto:
    """The function with the defaults that stand in the operator's schema."""
    given = {a.name for a in function.attribute_proto}
    for name, attribute in declared.items():
        default: AttributeProto = attribute.default_value
        if name not in given:
            function.attribute.append(name)
            if default.name:
                function.attribute_proto.append(default)
    return function
