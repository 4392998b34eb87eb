"""How pixels become a network's input, and how noise instead of them is asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from secateur.ir.errors import SecateurError

NOISE = "random:"  # and a number of images


@dataclass(frozen=True)
class Preparation:
    """How pixels become numbers: scaled to [0, 1], then (x - mean) / std, one of each or one a channel.

    `resize` is the shorter side, in pixels, that an image is resized to before
    the network's extent is cut from its middle; by default it just covers it.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    resize: int | None = None

    def __post_init__(self) -> None:
        for option, numbers in (("--mean", self.mean), ("--std", self.std)):
            need(len(numbers) in (1, 3), f"{option}: one number or three are wanted, got {len(numbers)}")
            need(all(map(math.isfinite, numbers)), f"{option}: {numbers} are not finite")
        unit = "pixels are scaled from 0..255 to 0..1 first, so 123.675 is written 0.485"
        need(all(0 <= m <= 1 for m in self.mean), f"--mean {_text(self.mean)} is not in 0..1; {unit}")
        need(all(0 < s <= 1 for s in self.std), f"--std {_text(self.std)} is not in 0..1 or is 0; {unit}")
        need(
            self.resize is None or 0 < self.resize <= 1 << 14, f"--resize {self.resize} is no side in pixels"
        )

    @property
    def is_plain(self) -> bool:
        """Whether it only scales pixels to [0, 1]."""
        return self.mean == (0.0,) and self.std == (1.0,)


def need(condition: bool, message: str) -> None:
    """SecateurError with the message unless the condition holds."""
    if not condition:
        raise SecateurError(message)


def _text(numbers: Sequence[float]) -> str:
    return ",".join(f"{n:g}" for n in numbers)


def numbers(text: str, option: str) -> tuple[float, ...]:
    """`0.485,0.456,0.406` as numbers; SecateurError that names `option`."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise SecateurError(f"{option} {text}: numbers with commas between them are wanted") from None


def preparation_of(mean: str | None, std: str | None, resize: int | None) -> Preparation | None:
    """What --mean, --std and --resize say; None where they say nothing."""
    given: dict[str, Any] = {"resize": resize} if resize is not None else {}
    given |= {
        name: numbers(text, f"--{name}") for name, text in (("mean", mean), ("std", std)) if text is not None
    }
    return Preparation(**given) if given else None
