"""What was counted, as text: beside the peers' counts and the bars, by class, and by operator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from secateur.tools.bench.arm.builds import Counted, Layer
from secateur.tools.bench.arm.counting import CLASSES, Counts
from secateur.tools.bench.arm.peers import VERSIONS, Peers, bar_of, peers_of
from secateur.tools.tables import shortened, table

_COUNTS = ("network", "core", "precision", "ours", "bar", *VERSIONS, "to best", "SQNR")
_NUMBERS = _COUNTS[3:]
_LABEL = 40  # characters of a layer's name


@dataclass(frozen=True, eq=False)
class Row:
    """One network on one core in one precision; `sqnr` in dB against the float artifact, where it was run."""

    network: str
    core: str
    precision: str
    macs: int
    counted: Counted
    sqnr: float | None

    @property
    def peers(self) -> Peers | None:
        return peers_of(self.network, self.precision, self.core)

    @property
    def bar(self) -> float | None:
        return bar_of(self.network, self.precision, self.core)

    @property
    def missed(self) -> bool:
        return self.bar is not None and self.counted.counts.millions > self.bar


def counts_table(rows: Sequence[Row]) -> str:
    """Million instructions an inference; `to best` is what ours is of the fewest among the peers."""
    legend = (
        "Million executed instructions an inference; * above the bar; to best: ours by the fewest of a peer."
    )
    versions = ", ".join(f"{name} {version}" for name, version in VERSIONS.items())
    return f"{table(_COUNTS, map(_counts, rows), right=_NUMBERS)}\n\n{legend}\nPeers: {versions}."


def _counts(row: Row) -> list[object]:
    ours, known = row.counted.counts.millions, row.peers.millions if row.peers else {}
    peers = [None if name not in known else f"{known[name]:.1f}" for name in VERSIONS]
    ratio = f"{ours / min(known.values()):.2f}" if known else None
    sqnr = None if row.sqnr is None else f"{row.sqnr:.1f}"
    bar = None if row.bar is None else f"{row.bar:g}"
    return [row.network, row.core, row.precision, f"{ours:.1f}{'*' * row.missed}", bar, *peers, ratio, sqnr]


def classes_table(rows: Sequence[Row]) -> str:
    """Instructions by 1000 multiply-accumulates: ours, then the best peer's."""
    headings = ("network", "core", "precision", "engine", "all", *CLASSES)
    lines = (line for row in rows for line in _classes(row))
    legend = "Instructions by 1000 multiply-accumulates of the direct convolutions."
    return f"{table(headings, lines, right=headings[4:])}\n\n{legend}"


def _classes(row: Row) -> Iterator[list[object]]:
    where = [row.network, row.core, row.precision]
    yield [*where, "ours", *_per_mac(row.counted.counts.by_class, row.macs / 1000)]
    if row.peers is not None:
        yield [*where, row.peers.best, *_per_mac(row.peers.classes, 1)]


def _per_mac(by_class: Iterable[float], thousands: float) -> list[str]:
    parts = [count / thousands for count in by_class]
    return [f"{sum(parts):.0f}", *(f"{part:.1f}" for part in parts)]


def layers_table(row: Row, least: float = 0.005) -> str:
    """The operators by what they execute, those below the share `least` in one line."""
    total = row.counted.counts.total
    layers = sorted(row.counted.layers, key=lambda layer: -layer.counts.total)
    small = [layer for layer in layers if layer.counts.total < least * total]
    lines = [_layer(layer, total) for layer in layers[: len(layers) - len(small)]]
    if small:
        counts = Counts(tuple(map(sum, zip(*(layer.counts.by_class for layer in small), strict=True))))
        lines.append(_layer(Layer(f"{len(small)} others", "", "", 0, counts), total))
    headings = ("primitive", "layer", "million", "%", "by MAC", *CLASSES)
    title = f"{row.network} {row.core} {row.precision}: classes in % of the operator's instructions"
    return f"{title}\n{table(headings, lines, right=headings[2:])}"


def _layer(layer: Layer, total: int) -> list[object]:
    counts = layer.counts
    by_mac = f"{counts.total / layer.macs:.3f}" if layer.macs else None
    shares = (f"{100 * part / max(1, counts.total):.0f}" for part in counts.by_class)
    share = f"{100 * counts.total / total:.1f}"
    return [
        layer.primitive or layer.operator,
        _short(layer.label),
        f"{counts.millions:.2f}",
        share,
        by_mac,
        *shares,
    ]


def _short(label: str) -> str:
    """Of the ONNX nodes that a layer came from, the first, and how many more."""
    first, *more = label.split("+")
    return shortened(first, _LABEL) + (f" +{len(more)}" if more else "")


def as_data(row: Row) -> dict[str, Any]:
    """The row as what JSON holds."""
    return {
        "network": row.network,
        "core": row.core,
        "precision": row.precision,
        "macs": row.macs,
        "instructions": dict(zip(CLASSES, row.counted.counts.by_class, strict=True)),
        "sqnr": row.sqnr,
        "bar": row.bar,
        "operators": [
            {
                "operator": layer.operator,
                "primitive": layer.primitive,
                "label": layer.label,
                "macs": layer.macs,
                "instructions": dict(zip(CLASSES, layer.counts.by_class, strict=True)),
            }
            for layer in row.counted.layers
        ],
    }
