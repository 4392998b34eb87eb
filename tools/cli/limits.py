"""`--memory`, `--latency`, `--min-sqnr` and `--without`: limits of the pass `select`, with their units."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import typer

from .common import refuse

SIZES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
DURATIONS = {"NS": 1e-9, "US": 1e-6, "MS": 1e-3, "S": 1.0}
_QUANTITY = re.compile(r"((?:\d{1,18}(?:\.\d{0,18})?|\.\d{1,18})(?:[eE][+-]?\d{1,2})?)\s*([A-Za-z]*)")

option = partial(typer.Option, rich_help_panel="Limits")


def _quantity(text: str, units: Mapping[str, float]) -> float | None:
    """The number that `text` says in the basic unit; None where it is no number with one of the units."""
    found = _QUANTITY.fullmatch(text.strip())
    unit = None if found is None else units.get(found[2].upper())
    return None if found is None or unit is None else float(found[1]) * unit


def parse_size(text: str) -> int:
    """`4MiB` as bytes; a number alone counts bytes. Fractions of a byte are dropped."""
    size = _quantity(text, SIZES)
    if size is None:
        raise refuse(f"--memory {text}: expected a size, such as 4MiB, 512KiB or 1843200")
    return int(text) if text.isdecimal() else int(size)


def parse_duration(text: str) -> float:
    """`20ms` as seconds."""
    duration = _quantity(text, DURATIONS)
    if duration is None:
        raise refuse(f"--latency {text}: expected a time with its unit, such as 20ms, 500us or 1.5s")
    return duration


MinSqnr = Annotated[
    float | None,
    option(
        metavar="DB",
        help="SQNR of the outputs at least, such as 110: Winograd's rounding errors may add up to no more.",
    ),
]


@dataclass(frozen=True)
class Limits:
    """What the plan of a network must keep."""

    memory: Annotated[
        str | None,
        option(metavar="SIZE", help="Arena at most, such as 4MiB: the fastest plan that fits is chosen."),
    ] = None
    latency: Annotated[
        str | None,
        option(
            metavar="TIME",
            help="Estimated time on one core at most, such as 20ms: without --memory, "
            "the plan of least memory that keeps it is chosen.",
        ),
    ] = None

    without: Annotated[
        list[str] | None,
        option(
            metavar="NAMES",
            help="Primitives not to be chosen: winograd6, or winograd6@NODE for one operator; several with "
            "commas between. Repeatable.",
        ),
    ] = None

    strict: Annotated[
        bool,
        option(
            "--strict",
            help="An infinite or NaN pixel reaches only what depends on it: Winograd and grouped convolution "
            "in shared vectors are not chosen, weights that are not finite are refused under padding.",
        ),
    ] = False

    @property
    def memory_bytes(self) -> int | None:
        return None if self.memory is None else parse_size(self.memory)

    @property
    def latency_seconds(self) -> float | None:
        return None if self.latency is None else parse_duration(self.latency)

    def check(self, given: str | None = None, min_sqnr: float | None = None) -> None:
        """SecateurError where a limit cannot be read, or does not go together with the pipeline given."""
        _ = self.memory_bytes, self.latency_seconds
        if given is not None:
            self.pipeline(given, given, min_sqnr)

    def pipeline(self, given: str | None, default: str, min_sqnr: float | None = None) -> str:
        """The pipeline given, else the default with these limits in it; SecateurError for both together."""
        from secateur.limits import chosen_pipeline

        memory, latency = self.memory_bytes, self.latency_seconds
        return chosen_pipeline(given, default, memory, latency, min_sqnr, self.without or (), self.strict)
