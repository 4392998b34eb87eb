"""Sizes, times and shares with their units, as they stand on the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from secateur.ir.support.units import read_duration, read_room, read_share, read_size, read_time

from .common import refuse


@dataclass(frozen=True)
class Quantity:
    """How a quantity is read (None where the text is none), and what the user is told of it."""

    read: Callable[[str], float | None]
    expected: str
    example: str

    def parse(self, text: str, option: str) -> float:
        """What `text` says; refused, with the option that it stands behind, where it says nothing."""
        found = self.read(text)
        if found is None:
            raise refuse(f"{option} {text}: expected {self.expected}")
        return found


QUANTITIES = {
    "bytes": Quantity(read_size, "a size, such as 4MiB, 512KiB or 1843200", "4MiB"),
    "seconds": Quantity(read_duration, "a time with its unit, such as 20ms, 500us or 1.5s", "20ms"),
    "share": Quantity(read_share, "a share, such as 50% or 0.5", "50%"),
    "time": Quantity(read_time, "a time with its unit, such as 20ms, or a share, such as 50%", "20ms or 50%"),
    "room": Quantity(read_room, "a size, such as 4MiB, or a share, such as 50%", "4MiB or 50%"),
}
"""By the unit that an option's field declares."""
