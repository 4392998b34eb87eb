"""What a bundle printed on a board, read back as times of kernels."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from secateur.ir.errors import SecateurError

from .bundle import header_of
from .candidates import Network
from .measure import REPEATS
from .samples import Timing, timing
from .timing import FILL

_OTHERS = {
    "format": "was printed by another version of Secateur",
    "target": "is of target {found}, not of {wanted}",
    "processor": "is of processor {found}, not of {wanted}",
    "compiler": "is of kernels of another version of Secateur; make the bundle again",
    "kernels": "is of other kernels than those of {model}: another model, or another shape of it",
}


def read_results(path: Path, network: Network) -> dict[str, Timing]:
    """Times by symbol of the kernels that were in the network's bundle.

    SecateurError where the file is of something else, cut short or damaged.
    """
    try:
        header, *runs, end = _lines(path)
        _check_header(header, network)
        if end != {"end": True} or len(runs) != header["runs"]:
            raise SecateurError(f"is cut short: {len(runs)} of {header['runs']} runs, or no end")
        return _timings(_samples(runs), network)
    except SecateurError as error:
        raise SecateurError(f"{path}: {error}") from None
    except (ValueError, TypeError, KeyError, RecursionError):
        raise SecateurError(f"{path}: is not what a bundle's run.sh printed, or is damaged") from None


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().splitlines() if line.strip()]


def _check_header(header: Mapping[str, Any], network: Network) -> None:
    for key, wanted in header_of(network).items():
        if key in _OTHERS and header[key] != wanted:
            words = _OTHERS[key].format(found=header[key], wanted=wanted, model=network.name)
            raise SecateurError(words)


def _samples(runs: Iterable[Mapping[str, Any]]) -> Mapping[str, list[float]]:
    """Seconds of every run of each candidate."""
    found: dict[str, list[float]] = defaultdict(list)
    for run in runs:
        taken: dict[str, int] = defaultdict(int)
        for symbol, ns in _operators(run):
            if type(ns) is not int or ns < 0:
                raise SecateurError(f"{symbol}: {ns} is no time in nanoseconds")
            taken[symbol] += ns  # where several kernels work one after another, each has a row
        for symbol, ns in taken.items():
            found[symbol].append(max(ns, 1) * 1e-9)
    return found


def _operators(run: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from ((row["label"], row["ns"]) for row in run["operators"] if row["label"] != FILL)


def _timings(samples: Mapping[str, list[float]], network: Network) -> dict[str, Timing]:
    known = {c.symbol for c in network.kernels}
    if strangers := samples.keys() - known:
        raise SecateurError(f"has times of kernels that were not asked for: {', '.join(sorted(strangers))}")
    if odd := sorted(symbol for symbol, times in samples.items() if len(times) != REPEATS):
        raise SecateurError(f"{odd[0]} was not run {REPEATS} times")
    return {symbol: timing(times) for symbol, times in samples.items()}
