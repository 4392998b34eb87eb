"""What adds up over a plan's operators besides time and may have a limit: error power, bytes of weights."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_CEILING, Context

from secateur.ir.choice import Choice, CostTable
from secateur.ir.graph import Operator
from secateur.ir.support.units import duration_text, size_text

from .sweeps import TIES


class Toll(ABC):
    """One thing that adds up, and how messages speak of a limit on it and of the least that is possible."""

    @abstractmethod
    def of(self, costs: CostTable) -> Callable[[Operator, Choice], float]:
        """What a choice for an operator adds, by a cost table."""

    @abstractmethod
    def limit(self, value: float) -> str: ...

    @abstractmethod
    def least(self, value: float) -> str:
        """Rounded so that a limit of what it says is kept by `value`."""


class Noise(Toll):
    """Relative error power; its sum says what the network's SQNR is at least."""

    def of(self, _costs: CostTable) -> Callable[[Operator, Choice], float]:
        return lambda _, choice: choice.noise

    def limit(self, value: float) -> str:
        return f"a noise of {value:g} ({decibels(value)})"

    def least(self, value: float) -> str:
        return f"{kept(value)} ({decibels(value, down=True)})"


class Weights(Toll):
    """Bytes of constants in the artifact; those that operators share count for each of them."""

    def of(self, costs: CostTable) -> Callable[[Operator, Choice], float]:
        return costs.weight_bytes

    def limit(self, value: float) -> str:
        return f"{size_text(round(value))} of weights"

    def least(self, value: float) -> str:
        return size_text(round(value))


class Kept(Weights):
    """Bytes of constants that are held in memory decoded, and not decoded for each run."""

    def limit(self, value: float) -> str:
        return f"{size_text(round(value))} of decoded weights kept"


NOISE, WEIGHTS, KEPT = Noise(), Weights(), Kept()


@dataclass(frozen=True)
class Limit:
    """At most `value` in all."""

    toll: Toll
    value: float


def kept(value: float) -> str:
    """A number in six digits, rounded up where that matters: a limit of so much is kept by `value`."""
    text = f"{value:.6g}"
    if float(text) >= value * (1 - TIES):
        return text
    return str(Context(prec=6, rounding=ROUND_CEILING).create_decimal_from_float(value))


def kept_duration(seconds: float) -> str:
    """The same of a time, with its unit."""
    return duration_text(float(kept(seconds)))


def decibels(noise: float, down: bool = False) -> str:
    """The SQNR of an error power; rounded `down`, a limit of so many decibels is kept by the power."""
    if noise == 0:
        return "inf dB"
    sqnr = -10 * math.log10(noise)
    return f"{math.floor(100 * sqnr) / 100 if down else sqnr:.6g} dB"
