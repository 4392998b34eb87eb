"""What networks' weights take by every way to store them, at several bits and shares of zeros: a table.

`python -m secateur.tools.bench.weights MODEL ... --write docs/weights.md` puts it between the lines of that
page that mark its place. A network is an ONNX or TFLite file, or the name of one of `make public-models`,
which is downloaded. Of a large tensor the first filters are taken (`--most`). Vela's codec and NNC are asked
where the packages `ethos-u-vela` and `nncodec` can be imported. What was found before is read from the CSV of
`--lines`, and what is found is added to it; what others' codecs take is read from that of `--peers` where it
has the line, as nothing of ours changes it.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from secateur.codegen.weights.registry import BEST, CHOOSING
from secateur.ir.errors import SecateurError
from secateur.ir.support.atomic import write_whole

from ..pages.tflite_weights import weights_in
from ..pages.weights import SMALLEST, Weights, report, weights_of
from .peers.weights import nnc_bytes, vela_bytes
from .public.rows import BY_NAME
from .public.wheels import model_file

BITS = (8, 6, 5, 4)
SHARES = (0.0, 0.5, 0.8, 0.9)
BEGIN, END = "<!-- weights: begin -->", "<!-- weights: end -->"
EXAMPLES = (
    "examples/digits/resnet20.onnx", "examples/fashion/resnet20.onnx",
    "mtcnn-r", "mtcnn-o", "basic-pitch", "ocr-angle", "captcha", "plate-read", "open-nsfw", "yolov8n",
)  # fmt: skip
MOST, LESS = 1 << 16, 1 << 13
"""Weights of a tensor, as many whole filters as that are; the second where a network has MANY of them."""
MANY = 300_000
PUBLIC = Path("build/public")
PEERS = ("vela", "nnc")
_SHOWN = ("sparse", "entropy", "zstd", "xz", *PEERS, "rans", "planes", "zeros", "best", "mixed", SMALLEST)
_TO = ("float32", "dense", "sparse", "entropy")
_HEAD = ("network", "bits", "zeros", *_SHOWN, *(f"{name} / {SMALLEST}" for name in _TO))
_KEY = ("network", "bits", "pruned", "elements")


@dataclass(frozen=True)
class Line:
    """A network's weights, so many, in bytes by way to store them."""

    network: str
    bits: int
    pruned: float
    elements: int
    bytes: dict[str, int | None]

    @property
    def key(self) -> tuple[str, int, float, int]:
        return self.network, self.bits, self.pruned, self.elements

    def cells(self) -> Iterator[str]:
        best = self.bytes[SMALLEST]
        assert best, "a network has weights"
        yield from (self.network, str(self.bits), f"{self.pruned:.0%}")
        yield from (self._bits(self.bytes[name]) for name in _SHOWN)
        yield from (f"{(self.bytes[name] or 0) / best:.3f}" for name in _TO)

    @property
    def fields(self) -> dict[str, str]:
        """For a CSV."""
        known = {name: "" if count is None else str(count) for name, count in self.bytes.items()}
        return {name: str(getattr(self, name)) for name in _KEY} | known

    @classmethod
    def of(cls, row: dict[str, str]) -> Line:
        """Of a CSV's row."""
        found = {name: int(text) if text else None for name, text in row.items() if name not in _KEY}
        return cls(row["network"], int(row["bits"]), float(row["pruned"]), int(row["elements"]), found)

    def _bits(self, bytes: int | None) -> str:
        return "-" if bytes is None else f"{8 * bytes / self.elements:.3f}"


Given = Callable[[int, float], tuple[Weights, ...]]
"""A network's weights at so many bits, a share of each tensor zero."""


def line_of(
    network: str, given: Given, bits: int, pruned: float, most: int = MOST, peers: Sequence[Line] = ()
) -> Line:
    layers = [_first(layer, most) for layer in given(bits, pruned)]
    if not layers:
        raise SecateurError(f"{network}: has no weights")
    found = report(network, layers, bits, pruned)
    quick = sum(min(row.bytes[name] or 0 for name in CHOOSING[BEST]) for row in found.rows)
    line = Line(network, bits, pruned, found.total.elements, {**found.total.bytes, "best": quick})
    known = next((peer.bytes for peer in peers if peer.key == line.key), None)
    values = [layer.values for layer in layers]
    line.bytes.update(known or {"vela": vela_bytes(values), "nnc": nnc_bytes(values)})
    return line


def most_of(given: Given) -> int:
    """How many weights of a tensor are looked at where nobody says it."""
    return LESS if sum(layer.values.size for layer in given(max(BITS), 0.0)) > MANY else MOST


def _first(layer: Weights, most: int) -> Weights:
    """As many filters, from the first on, as have so many weights, and one at least."""
    each = layer.values[:1].size
    return replace(layer, values=layer.values[: max(1, most // max(each, 1))])


class Lines:
    """What is known of networks, in a CSV where one is named; what peers take, in another."""

    def __init__(self, path: Path | None, peers: Path | None = None) -> None:
        self._path = path
        self._known = _read(path)
        self._peers = [
            replace(line, bytes={name: line.bytes[name] for name in PEERS}) for line in _read(peers)
        ]

    def __iter__(self) -> Iterator[Line]:
        return iter(tuple(self._known))

    def line(self, name: str, given: Given, bits: int, pruned: float, most: int) -> Line:
        for line in self._known:
            if (line.network, line.bits, line.pruned) == (name, bits, pruned):
                return line
        self._known.append(line_of(name, given, bits, pruned, most, self._peers))
        if self._path is not None:
            write_whole(self._path, self.text_of(self._known).encode())
        return self._known[-1]

    @staticmethod
    def text_of(lines: Sequence[Line]) -> str:
        """The CSV."""
        rows = [line.fields for line in lines]
        out = io.StringIO()
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return out.getvalue()


def _read(path: Path | None) -> list[Line]:
    rows = csv.DictReader(path.read_text().splitlines()) if path and path.exists() else ()
    return [Line.of(row) for row in rows]


def lines_of(given: argparse.Namespace) -> Iterator[Line]:
    """One network after the other; SecateurError for what is no model. With `known`, what the CSV has."""
    known = Lines(given.lines, given.peers)
    if given.known:
        yield from known
        return
    for word in given.models:
        name, weights = network(word, given.public)
        most = given.most or most_of(weights)
        yield from (known.line(name, weights, b, share, most) for b in given.bits for share in given.pruned)


def network(word: str, folder: Path) -> tuple[str, Given]:
    """The name of a network and its weights, by its file or by its name among the public ones."""
    from secateur.ir.onnx_reader import read_model

    if word not in BY_NAME:
        path = Path(word)
        name = f"{path.parent.name}/{path.stem}"
        if path.suffix == ".tflite":
            return name, partial(weights_in, path)
        return name, partial(weights_of, read_model(path))
    model = BY_NAME[word]
    shapes = None if model.settled else {model.input: model.shape}
    return word, partial(weights_of, read_model(model_file(model, folder), shapes))


def markdown(lines: Sequence[Line]) -> str:
    """The table: bits a weight, then ratios."""
    rows = [_HEAD, ("---",) * len(_HEAD), *(tuple(line.cells()) for line in lines)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def replaced(page: str, text: str) -> str:
    """The page with the text in its place; SecateurError where it has none."""
    before, mark, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise SecateurError(f"the page has no lines {BEGIN} and {END} to write between")
    return f"{before}{BEGIN}\n{text}{END}{after}"


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("models", nargs="*", default=EXAMPLES)
    parser.add_argument("--bits", nargs="+", type=int, default=BITS)
    parser.add_argument("--pruned", nargs="+", type=float, default=SHARES)
    parser.add_argument("--most", type=int, help="weights of a tensor that are looked at")
    parser.add_argument("--known", action="store_true", help="nothing is looked at but the CSV of --lines")
    parser.add_argument("--lines", type=Path, metavar="FILE.csv", help="what is known, kept there")
    parser.add_argument(
        "--peers", type=Path, metavar="FILE.csv", help="lines in which Vela's and NNC's are known"
    )
    parser.add_argument("--public", type=Path, default=PUBLIC, help="where public networks are kept")
    parser.add_argument("--write", type=Path, metavar="PAGE.md", help="replace the table there")
    given = parser.parse_args(words)
    lines = []
    for line in lines_of(given):
        lines.append(line)
        print(" ".join(line.cells()), flush=True)
    if given.write:
        page = replaced(given.write.read_text(encoding="utf-8"), markdown(lines))
        write_whole(given.write, page.encode())


if __name__ == "__main__":
    main()
