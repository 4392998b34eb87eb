"""The one list of operators, and how an operator of it is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import ops  # noqa: F401  (declares the set)
from .graph import Operator, Value
from .opdef import OpDef, TypeRuleError
from .ops.rows import rows


def registry() -> Mapping[str, OpDef]:
    """Every declared operator by name."""
    return rows()


def lookup(name: str) -> OpDef:
    """The declaration of operator `name`; TypeRuleError where there is none."""
    found = registry().get(name)
    if found is None:
        raise TypeRuleError(f"unknown operator '{name}'")
    return found


def create(
    name: str, operands: Sequence[Value], attributes: Mapping[str, Any] | None = None, loc: str = ""
) -> Operator:
    """A new operator with result types from its rule; TypeRuleError where the rule refuses."""
    definition = lookup(name)
    attributes = attributes or {}
    types = definition.result_types([v.type for v in operands], attributes)
    return Operator(definition, operands, attributes, types, loc)
