"""Which stage each pass takes and which it gives, apart from the passes: a wrong order is refused at once,
before any of them is imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from secateur.ir.support.road import LAID_OUT, PLACED, QUANTIZED, READ, SELECTED, check_order

STAGES: Mapping[str, tuple[str, str]] = {
    **dict.fromkeys(
        ("widen", "narrow", "canonicalize", "open", "prune", "remove", "fuse", "half", "equalize"),
        (READ, READ),
    ),
    "quantize": (READ, QUANTIZED),
    "tflite": (READ, QUANTIZED),
    "select": (READ, SELECTED),
    "layout": (SELECTED, LAID_OUT),
    "memory": (LAID_OUT, PLACED),
    "store": (PLACED, PLACED),
}
"""Stage taken and stage given, by the name of the pass."""


def check_stages(names: Sequence[str]) -> None:
    """SecateurError where a pass of that list takes another stage than the one before it gives."""
    if all(name in STAGES for name in names):
        check_order((name, *STAGES[name]) for name in names)
