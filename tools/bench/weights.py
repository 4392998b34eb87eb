"""What networks' weights take by every way to store them, at several bits and shares of zeros: a table.

`python -m secateur.tools.bench.weights MODEL ... --write docs/weights.md` puts it between the lines of that
page that mark its place. A network is an ONNX file or the name of one of `make public-models`, which is
downloaded. Vela's codec is asked where the package `ethos-u-vela` can be imported.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secateur.ir.errors import SecateurError
from secateur.ir.support.atomic import write_whole

from ..pages.weights import SMALLEST, Bytes, Weights, report, weights_of
from .public.rows import BY_NAME
from .public.wheels import model_file

BITS = (8, 6, 5, 4)
SHARES = (0.0, 0.5, 0.8, 0.9)
BEGIN, END = "<!-- weights: begin -->", "<!-- weights: end -->"
EXAMPLES = (
    "examples/digits/resnet20.onnx", "examples/fashion/resnet20.onnx",
    "ocr-angle", "mtcnn-r", "mtcnn-o", "basic-pitch", "centerface",
)  # fmt: skip
PUBLIC = Path("build/public")
_SHOWN = ("sparse", "entropy", "zstd", "xz", "vela", "rans", "planes", "mixed", SMALLEST)
_HEAD = ("network", "bits", "zeros", *_SHOWN, "dense / smallest", "sparse / smallest")


@dataclass(frozen=True)
class Line:
    """A network's weights, so many, in bytes by way to store them."""

    network: str
    bits: int
    pruned: float
    elements: int
    bytes: dict[str, int | None]

    def cells(self) -> Iterator[str]:
        best = self.bytes[SMALLEST]
        assert best, "a network has weights"
        yield from (self.network, str(self.bits), f"{self.pruned:.0%}")
        yield from (self._bits(self.bytes[name]) for name in _SHOWN)
        dense = -(-self.elements * self.bits // 8)
        yield from (f"{(bytes or 0) / best:.2f}" for bytes in (dense, self.bytes["sparse"]))

    def _bits(self, bytes: int | None) -> str:
        return "-" if bytes is None else f"{8 * bytes / self.elements:.3f}"


def vela_encoder() -> Callable[[list[int]], bytes] | None:
    """Vela's codec of a stream of weights; None where it is not installed."""
    try:
        from ethosu import mlw_codec  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return None
    found: Callable[[list[int]], bytes] = mlw_codec.encode
    return found


def vela_bytes(layers: Sequence[Weights]) -> int | None:
    """Of all layers, each by itself, channels innermost as Ethos-U wants them."""
    encode = vela_encoder()
    return None if encode is None else sum(len(encode(_innermost(layer.values))) for layer in layers)


def _innermost(values: Bytes) -> list[int]:
    moved: Any = values.transpose(0, *range(2, values.ndim), 1) if values.ndim > 2 else values
    found: list[int] = moved.reshape(-1).tolist()
    return found


def line_of(network: str, graph: Any, bits: int, pruned: float) -> Line:
    layers = weights_of(graph, bits, pruned)
    if not layers:
        raise SecateurError(f"{network}: has no weights")
    total = report(network, layers, bits, pruned).total
    return Line(network, bits, pruned, total.elements, {**total.bytes, "vela": vela_bytes(layers)})


def lines_of(
    models: Sequence[str], bits: Sequence[int], shares: Sequence[float], folder: Path = PUBLIC
) -> Iterator[Line]:
    """One network after the other; SecateurError for what is no model. Public ones are kept in `folder`."""
    for word in models:
        name, graph = network(word, folder)
        yield from (line_of(name, graph, b, share) for b in bits for share in shares)


def network(word: str, folder: Path) -> tuple[str, Any]:
    """The name of a network and its graph, by its file or by its name among the public ones."""
    from secateur.ir.onnx_reader import read_model

    if word not in BY_NAME:
        path = Path(word)
        return f"{path.parent.name}/{path.stem}", read_model(path)
    model = BY_NAME[word]
    shapes = None if model.settled else {model.input: model.shape}
    return word, read_model(model_file(model, folder), shapes)


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
    parser.add_argument("--public", type=Path, default=PUBLIC, help="where public networks are kept")
    parser.add_argument("--write", type=Path, metavar="PAGE.md", help="replace the table there")
    given = parser.parse_args(words)
    lines = []
    for line in lines_of(given.models, given.bits, given.pruned, given.public):
        lines.append(line)
        print(" ".join(line.cells()), flush=True)
    if given.write:
        page = replaced(given.write.read_text(encoding="utf-8"), markdown(lines))
        write_whole(given.write, page.encode())


if __name__ == "__main__":
    main()
