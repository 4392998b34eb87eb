"""Why an operator cannot be read, where more can be said than that, and where to end the network instead."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnx import NodeProto

from ..support.shown import shown
from .checks import ONNX_DOMAINS
from .known import is_computable

COUNTED_BY_DATA = frozenset({"Compress", "NonMaxSuppression", "NonZero", "Unique"})
"""Operators of which nobody knows how many results they have before they are run."""


def reason_of(proto: NodeProto) -> str:
    """What to say of an operator outside the set; empty where its name says it all."""
    if proto.domain in ONNX_DOMAINS and proto.op_type in COUNTED_BY_DATA:
        return "how much it finds depends on the data, while every tensor here has a fixed shape"
    return "only of values known while reading" if is_computable(proto) else ""


def asked_by(proto: NodeProto) -> Iterator[str]:
    """The names that a node reads, also in graphs inside it."""
    yield from proto.input
    for attribute in proto.attribute:
        for inner in attribute.g.node:
            yield from asked_by(inner)


def ends_line(names: Sequence[str]) -> str:
    """Where to end the network; `names` are what the part that cannot be read reads of the rest."""
    listed = ", ".join(f"'{shown(name)}'" for name in names)
    return (
        f"What cannot be read begins behind {listed}: end the network there, with onnx.utils.extract_model, "
        "and run the rest outside."
    )
