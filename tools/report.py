"""How the tools speak: quantities for people, and JSON."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def print_json(data: Mapping[str, Any] | Sequence[Any]) -> None:
    """One JSON document on stdout; numbers that JSON cannot say become null."""
    json.dump(_plain(data), sys.stdout, indent=1, allow_nan=False)
    sys.stdout.write("\n")


def _plain(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(value) for value in data]
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    return data if isinstance(data, str | int | bool | None) else str(data)


def facts(rows: Iterable[tuple[str, object]]) -> str:
    """Names and values, one a line, values aligned."""
    rows = list(rows)
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def size(count: int) -> str:
    """Bytes for people: `1.5 MiB`."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} B"


def amount(count: float) -> str:
    """A count for people: `1.82 G`."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= unit:
            return f"{count / unit:.2f} {name}"
    return f"{count:g}"


def duration(seconds: float) -> str:
    """A time for people: `1.23 ms`."""
    for unit, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if seconds >= unit:
            return f"{seconds / unit:.2f} {name}"
    return f"{seconds * 1e9:.0f} ns"


def node_text(loc: str) -> str:
    """The first of the ONNX nodes that an operator came from, and how many others were fused into it."""
    first, *others = loc.split("+")
    return f"{first} (+{len(others)})" if others else first


def shape_text(shape: Iterable[int]) -> str:
    """`1x3x224x224`, or `scalar`."""
    return "x".join(map(str, shape)) or "scalar"
