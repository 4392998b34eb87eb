"""Sizes and times with their units: read as people write them, and said so that they read back the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

SIZES = {
    "": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30,
}  # fmt: skip
DURATIONS = {
    "NS": Decimal("1e-9"), "US": Decimal("1e-6"), "MS": Decimal("1e-3"), "S": Decimal(1), "MIN": Decimal(60),
}  # fmt: skip


class Share(float):
    """A share of what there is, where a number alone would have a unit: `50%`."""

    def __str__(self) -> str:
        return f"{_plain(Decimal(repr(float(self))) * 100)}%"

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Share) and float(self) == float(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((Share, float(self)))


_QUANTITY = re.compile(r"((?:\d{1,18}(?:\.\d{0,18})?|\.\d{1,18})(?:[eE][+-]?\d{1,2})?)\s*([A-Za-z]*)")
_SHOWN_SIZES = ("GiB", "MiB", "KiB", "GB", "MB", "kB")
_SHOWN_DURATIONS = ("s", "ms", "us", "ns")


def read_size(text: str) -> int | None:
    """`4MiB` as bytes; a number alone counts bytes, of which fractions are dropped. None for no size."""
    found = _quantity(text, SIZES)
    return None if found is None else int(found)


def read_duration(text: str) -> float | None:
    """`20ms` as seconds; None for what is no number with a unit of time."""
    found = _quantity(text, DURATIONS)
    return None if found is None else float(found)


def read_share(text: str) -> float | None:
    """`50%` and `0.5` as 0.5; None for what is neither."""
    found = _quantity(text.strip().removesuffix("%"), {"": 1})
    if found is None:
        return None
    return float(found / 100 if text.strip().endswith("%") else found)


def read_time(text: str) -> float | None:
    """`20ms` as seconds, `50%` as a `Share`; None for what is neither."""
    return _of_all(text) if text.strip().endswith("%") else read_duration(text)


def read_room(text: str) -> float | None:
    """`4MiB` as bytes, `50%` as a `Share`; None for what is neither."""
    return _of_all(text) if text.strip().endswith("%") else read_size(text)


def _of_all(text: str) -> Share | None:
    share = read_share(text)
    return None if share is None else Share(share)


def _quantity(text: str, units: Mapping[str, int | Decimal]) -> Decimal | None:
    found = _QUANTITY.fullmatch(text.strip())
    unit = None if found is None else units.get(found[2].upper())
    return None if found is None or unit is None else Decimal(found[1]) * unit


def size_text(count: int) -> str:
    """Bytes, exactly, in the unit that says them shortest: `4MiB`, `10kB`, `431168 bytes`."""
    shown = {" bytes": str(count)}
    shown |= {unit: _plain(Decimal(count) / SIZES[unit.upper()]) for unit in _SHOWN_SIZES}
    unit = min((unit for unit in shown if Decimal(shown[unit]) >= 1), key=lambda u: len(shown[u]), default="")
    return f"{shown[unit]}{unit}" if unit else f"{count} bytes"


def duration_text(seconds: float) -> str:
    """Seconds, exactly, in the largest unit of which there is one: `20ms`, `1.5s`."""
    exact = Decimal(str(seconds))
    unit = next((unit for unit in _SHOWN_DURATIONS if exact >= DURATIONS[unit.upper()]), "ns")
    return f"{_plain(exact / DURATIONS[unit.upper()])}{unit}"


def _plain(number: Decimal) -> str:
    return f"{number.normalize():f}"
