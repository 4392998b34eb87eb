"""The ranges of a network's values: chosen from statistics, saved, edited by hand, read again.

{"version": 1, "method": "percentile", "images": 200, "equalized": false, "unbounded": ["masked"],
 "ranges": {"image": [-0.94, 2.15], "conv1": [0.0, 6.3]}}
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from secateur.ir.errors import SecateurError
from secateur.ir.support.atomic import write_whole
from secateur.ir.support.strict_json import read_json
from secateur.ir.support.words import known_names, listed
from secateur.ir.types import Quant

from .histogram import Histogram
from .methods import LEVELS, METHODS, Range, percentile
from .statistics import Statistics

VERSION = 1
_KEYS = ("version", "method", "images", "equalized", "unbounded", "ranges")
_LEAST_SCALE = 2.0**-100
_SCALE_OF_NOTHING = 1 / (LEVELS - 1)


class RangesError(SecateurError):
    """A file that holds no ranges, or statistics that give none."""


@dataclass(frozen=True)
class Ranges:
    """(low, high) in float32 of each value by name, and how they were found.

    `method` may be any text in a file edited by hand; `equalized` tells whether
    the graph's channels had been equalized, which changes the ranges. `unbounded`
    names the values that held NaN or infinity: they have no range.
    """

    method: str
    images: int
    ranges: Mapping[str, Range]
    equalized: bool = False
    unbounded: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Range:
        """The range of the value called `name`; RangesError where there is none."""
        if name not in self.ranges:
            raise RangesError(f"the calibration has no range for {listed([name], self.ranges)}")
        return self.ranges[name]

    def check_names(self, known: Collection[str]) -> None:
        """RangesError where a range is for a value that is none of `known`: a typo, or another model."""
        if unknown := [name for name in (*self.ranges, *self.unbounded) if name not in known]:
            raise RangesError(
                f"the calibration has ranges for values not in the model: {listed(unknown, known)}"
            )


# From statistics -----------------------------------------------------------------------------------


def _float32(value: float) -> float:
    return float(np.float32(value))


def choose(
    statistics: Statistics, method: str = "mse", percent: float = 99.99, equalized: bool = False
) -> Ranges:
    """Ranges of the finite values by `method`: `minmax`, `percentile` (with `percent`), `mse` or `entropy`.

    Raises RangesError for an unknown method or a percentage outside (50, 100].
    """
    if method not in METHODS:
        raise RangesError(f"unknown calibration method '{method}'{known_names(method, METHODS)}")
    if not 50 < percent <= 100:
        raise RangesError(f"percentile {percent:g} does not lie above 50 and up to 100")
    histograms = statistics.histograms
    unbounded = tuple(name for name, histogram in histograms.items() if histogram.strange)
    ranges = {name: _range(h, method, percent) for name, h in histograms.items() if not h.strange}
    return Ranges(method, statistics.images, ranges, equalized, unbounded)


def _range(histogram: Histogram, method: str, percent: float) -> Range:
    low, high = percentile(histogram, percent) if method == "percentile" else METHODS[method](histogram)
    return _float32(low), _float32(high)


def quant_of(low: float, high: float) -> Quant:
    """The quantization of unsigned bytes whose 256 levels span [low, high], widened to hold 0.

    The zero point is the level nearest to where 0 would lie, so that 0.0 is
    exact. A range that is zero alone gets scale 1/255. Raises RangesError where
    low > high or one is not finite.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise RangesError(f"[{low:g}, {high:g}] is no range")
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / (LEVELS - 1)
    scale = _float32(max(step, _LEAST_SCALE) if step else _SCALE_OF_NOTHING)
    return Quant((scale,), (min(LEVELS - 1, round(-low / scale)),))


# Files ---------------------------------------------------------------------------------------------


def write_ranges(ranges: Ranges, path: Path) -> None:
    """Writes JSON, one value a line; a file already there is replaced whole or not at all."""
    rows = ",\n".join(
        f"  {json.dumps(name, ensure_ascii=False)}: [{_shortest(low)}, {_shortest(high)}]"
        for name, (low, high) in ranges.ranges.items()
    )
    head = {
        "version": VERSION,
        "method": ranges.method,
        "images": ranges.images,
        "equalized": ranges.equalized,
    } | ({"unbounded": ranges.unbounded} if ranges.unbounded else {})
    facts = ",\n".join(f' "{key}": {json.dumps(value)}' for key, value in head.items())
    write_whole(path, f'{{\n{facts},\n "ranges": {{\n{rows}\n }}\n}}\n'.encode())


def _shortest(value: float) -> str:
    """The shortest digits that read back to the same float32."""
    return str(np.float32(value))


def read_ranges(path: Path) -> Ranges:
    """The ranges in a file; RangesError that names the entry where something is wrong with it."""
    data = read_json(path, RangesError)
    try:
        return _parsed(data)
    except RangesError as error:
        raise RangesError(f"{path}: {error}") from None


def _need(condition: bool, message: str) -> None:
    if not condition:
        raise RangesError(message)


def _parsed(data: Any) -> Ranges:
    _need(isinstance(data, dict), "holds no calibration: an object with 'version' and 'ranges' is wanted")
    unknown = [key for key in data if key not in _KEYS]
    _need(not unknown, f"has an entry that is not known: {listed(unknown, _KEYS) if unknown else ''}")
    version = data.get("version")
    _need(
        version == VERSION and version is not True, f"version is {version!r}, this Secateur reads {VERSION}"
    )
    method, images, equalized = data.get("method"), data.get("images"), data.get("equalized", False)
    _need(isinstance(method, str), f"method is {method!r}, not a text")
    _need(
        isinstance(images, int) and not isinstance(images, bool) and images >= 0,
        f"images is {images!r}, not a count",
    )
    _need(isinstance(equalized, bool), f"equalized is {equalized!r}, neither true nor false")
    ranges, unbounded = data.get("ranges"), data.get("unbounded", [])
    _need(isinstance(ranges, dict) and bool(ranges), "'ranges' is missing or empty")
    names = isinstance(unbounded, list) and all(isinstance(name, str) for name in unbounded)
    _need(names, f"unbounded is {unbounded!r}, not a list of names")
    both = [name for name in unbounded if name in ranges]
    _need(not both, f"has a range for {listed(both, ranges) if both else ''}, which is unbounded as well")
    pairs = {name: _pair(name, pair) for name, pair in ranges.items()}
    return Ranges(method, images, pairs, equalized, tuple(unbounded))


def _pair(name: str, pair: Any) -> Range:
    _need(isinstance(pair, list) and len(pair) == 2, f"range of '{name}' is {pair!r}, not [low, high]")
    low, high = (_real(name, number) for number in pair)
    _need(low <= high, f"range of '{name}': low {pair[0]!r} is above high {pair[1]!r}")
    return low, high


def _real(name: str, number: Any) -> float:
    plain = isinstance(number, int | float) and not isinstance(number, bool)
    _need(plain, f"range of '{name}': {number!r} is no number")
    with np.errstate(over="ignore"):
        value = _float32(number)
    _need(math.isfinite(value), f"range of '{name}': {number!r} is no finite float32")
    return value
