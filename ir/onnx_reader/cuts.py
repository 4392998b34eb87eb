"""Why an operator cannot be read, where more can be said than that: and where to end the network instead."""

from __future__ import annotations

from onnx import NodeProto

from ..support.shown import shown
from .checks import ONNX_DOMAINS
from .known import is_computable

COUNTED_BY_DATA = frozenset({"Compress", "NonMaxSuppression", "NonZero", "Unique"})
"""Operators of which nobody knows how many results they have before they are run."""


def reason_of(proto: NodeProto) -> str:
    """What to say of an operator outside the set; empty where its name says it all."""
    if proto.domain in ONNX_DOMAINS and proto.op_type in COUNTED_BY_DATA:
        why = "how much it finds depends on the data, while every tensor here has a fixed shape"
    elif is_computable(proto):
        why = "only of values known while reading"
    else:
        return ""
    ends = ", ".join(f"'{shown(name)}'" for name in proto.input[: _computed(proto)] if name)
    return f"{why}; end the network at {ends}, with onnx.utils.extract_model, and run the rest outside"


def _computed(proto: NodeProto) -> int:
    """How many of the first inputs are tensors of the network: NonMaxSuppression's others are settings."""
    return 2 if proto.op_type == "NonMaxSuppression" else 1
