"""What there is to do: a check, or a group that is timed; each in its part, with the seconds it may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PARTS = {"primitives": 90.0, "layers": 220.0, "answers": 50.0, "networks": 120.0}
"""In the order of their worth, with the seconds of each; what one leaves, the next one has."""
WHOLE = sum(PARTS.values())
_ITEM, _ARTIFACT, _PEERS = 0.5, 0.6, 3.0  # seconds, to be corrected by those that the first items took
_BYTES_A_SECOND = 300e6  # of an artifact that is unpacked, read and sent to the GPU


@dataclass(frozen=True)
class Item:
    """Rows of the index that belong together."""

    part: str
    name: str
    rows: tuple[dict[str, Any], ...]

    @property
    def is_check(self) -> bool:
        return "answers" in self.rows[0]

    def seconds(self, peers: bool) -> float:
        """An estimate."""
        loaded: float = sum(_ARTIFACT + row["bytes"] / _BYTES_A_SECOND for row in self.rows)
        return _ITEM + loaded + (_PEERS if peers and not self.is_check else 0.0)


def items(index: dict[str, Any]) -> list[Item]:
    """In the order of parts."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in index["rows"]:
        found.setdefault((row["part"], row.get("group") or row["name"]), []).append(row)
    made = [Item(part, name, tuple(rows)) for (part, name), rows in found.items()]
    return sorted(made, key=lambda item: list(PARTS).index(item.part))


def ends(seconds: float) -> dict[str, float]:
    """When each part's time is up, from the start on."""
    found, total = {}, 0.0
    for part, share in PARTS.items():
        total += share * seconds / WHOLE
        found[part] = total
    return found


class Pace:
    """How much longer items take than was estimated."""

    def __init__(self) -> None:
        self.taken = self.estimated = 0.0

    def __call__(self, estimate: float) -> float:
        """The estimate, corrected by what is known."""
        return estimate * (self.taken / self.estimated if self.estimated else 1.0)

    def add(self, estimate: float, taken: float) -> None:
        self.estimated, self.taken = self.estimated + estimate, self.taken + taken
