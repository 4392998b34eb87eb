"""What an engine of the benchmark is."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class PeerError(Exception):
    """An engine cannot run a model; the message is the reason shown in the table."""


class Runner(Protocol):
    """A prepared network."""

    def run(self, x: Floats) -> Floats:
        """The network's output for one input, both float32 and row-major."""
        ...


@dataclass(frozen=True)
class Int8:
    """How a network is to be quantized.

    `calibration` is an `.npz` of one array, float32 [samples, C, H, W], named after the network's input;
    quantized models are kept in its folder. `variant` is one of the engine's `variants`. `min_sqnr` is
    in dB; peers have no such option and ignore it.
    """

    calibration: Path
    variant: str
    min_sqnr: float | None = None

    def samples(self) -> list[dict[str, Floats]]:
        """The calibration inputs by the input's name, each float32 [1, C, H, W]."""
        with np.load(self.calibration) as arrays:
            return [{name: sample} for name in arrays.files for sample in arrays[name][:, None]]

    def beside(self, model: Path, suffix: str) -> Path:
        """Where a quantized form of `model` is kept."""
        return self.calibration.parent / f"{model.stem}{suffix}"


class Peer(ABC):
    """An inference engine. `modules` maps each module it needs to the pip words that install it.

    `variants` are its ways of quantizing to int8, with what they need besides in `int8_modules`.
    An engine with none says in `no_int8` why.
    """

    name: ClassVar[str]
    modules: ClassVar[dict[str, str]]
    variants: ClassVar[tuple[str, ...]] = ()
    int8_modules: ClassVar[dict[str, dict[str, str]]] = {}
    no_int8: ClassVar[str] = "has no int8"

    def missing(self, variant: str = "") -> list[str]:
        """What `pip install` needs for this engine to run here; empty when all is there."""
        wanted = self.modules | self.int8_modules.get(variant, {})
        return [words for module, words in wanted.items() if importlib.util.find_spec(module) is None]

    def version(self) -> str:
        """Version of the engine's distribution, "" where it is not installed."""
        distributions = metadata.packages_distributions().get(next(iter(self.modules)), [])
        return metadata.version(distributions[0]) if distributions else ""

    @abstractmethod
    def prepare(self, model: Path, threads: int) -> Runner:
        """Loads `model` to run on `threads` threads; conversions are kept beside the file."""

    def prepare_int8(self, model: Path, threads: int, int8: Int8) -> Runner:
        """The same, quantized as `int8` says; PeerError where the engine cannot."""
        raise PeerError(self.no_int8)


def last_line(text: str) -> str:
    """The last line of a program's output that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it says nothing"
