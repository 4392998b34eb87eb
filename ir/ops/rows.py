"""The rows of the operator set, as the families declare them."""

from __future__ import annotations

from collections.abc import Mapping

from ..opdef import OpDef

_ROWS: dict[str, OpDef] = {}


def register(definition: OpDef) -> OpDef:
    """Adds an operator to the set; ValueError where its name is taken."""
    if definition.name in _ROWS:
        raise ValueError(f"operator {definition.name} is declared twice")
    _ROWS[definition.name] = definition
    return definition


def rows() -> Mapping[str, OpDef]:
    """The operators declared so far, by name, in order."""
    return _ROWS
