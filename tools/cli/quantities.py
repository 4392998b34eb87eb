"""Sizes and times with their units, as they stand on the command line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from .common import refuse

SIZES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
DURATIONS = {"NS": 1e-9, "US": 1e-6, "MS": 1e-3, "S": 1.0}
_QUANTITY = re.compile(r"((?:\d{1,18}(?:\.\d{0,18})?|\.\d{1,18})(?:[eE][+-]?\d{1,2})?)\s*([A-Za-z]*)")


def _quantity(text: str, units: Mapping[str, float]) -> float | None:
    """The number that `text` says in the basic unit; None where it is no number with one of the units."""
    found = _QUANTITY.fullmatch(text.strip())
    unit = None if found is None else units.get(found[2].upper())
    return None if found is None or unit is None else float(found[1]) * unit


def parse_size(text: str, option: str = "--memory") -> int:
    """`4MiB` as bytes; a number alone counts bytes. Fractions of a byte are dropped."""
    size = _quantity(text, SIZES)
    if size is None:
        raise refuse(f"{option} {text}: expected a size, such as 4MiB, 512KiB or 1843200")
    return int(text) if text.isdecimal() else int(size)


def parse_duration(text: str, option: str = "--latency") -> float:
    """`20ms` as seconds."""
    duration = _quantity(text, DURATIONS)
    if duration is None:
        raise refuse(f"{option} {text}: expected a time with its unit, such as 20ms, 500us or 1.5s")
    return duration


PARSERS: Mapping[str, Callable[[str, str], int | float]] = {"bytes": parse_size, "seconds": parse_duration}
EXAMPLES = {"bytes": "4MiB", "seconds": "20ms"}
