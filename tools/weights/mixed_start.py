"""Where the model of the codec `mixed` starts, learnt from trained networks: `runtime/mixed_learnt.h`.

`python -m secateur.tools.weights.mixed_start --write runtime/mixed_learnt.h` downloads six public networks,
none of which is in the table of docs/weights.md, and writes the file anew: the same bytes on every machine.
Each tensor, in several bits and shares of zeros, is coded from the start as it is, which then goes a small
part of the way to where the model has come (Nichol and others, On first-order meta-learning, 2018). How sizes
are spread is counted. Changed numbers make another codec: see `codegen/weights/registry.py`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from secateur.codegen.weights.mixed import head_of
from secateur.codegen.weights.native import learn_mixed
from secateur.codegen.weights.orders import ACROSS, CHANNEL, DOWN, FILTER, Order
from secateur.ir.support.atomic import write_whole

from ..bench.weights import PUBLIC, network

NETWORKS = ("yolox", "ocr-detect", "ocr-read", "plate-detect", "plate-text", "centerface")
BITS, SHARES = (8, 6, 5, 4), (0.0, 0.5, 0.8, 0.9)
MOST = 4096
"""Weights of a tensor that are looked at, as many whole filters as that are."""
STARTS = 4
"""By the share of zeros, as `codegen/weights/mixed.py` tells them apart."""
FIELDS = (
    ("sizes", 7, 10),
    ("tops", 2, 3),
    ("zeros", 1, 10),
    ("signs", 1, 6),
    ("widths", 1, 6),
    ("around", 1, 7),
)
"""Of one start, in the order of the C struct: rows and numbers of each."""
FIRST = (*([6] * 7 + [20] * 2 + [8]) * 7, *[63, 0, 0] * 2, *[6] * 8, *[20] * 2, *[6] * 4, *[20] * 2,
         *(0, 64, 16, 13, 3, 13), *[0] * 7)  # fmt: skip
"""What is learnt from, in the units of the file."""
UNITS = np.repeat(
    (1024.0, 1024.0, 1024.0, 1024.0, 1 / 64, 256.0), [rows * count for _, rows, count in FIELDS]
)
TOPS = ((1, 950, 900, 3, 300, 350), (1, 800, 600, 3, 300, 350))
"""Thousandths, of all sizes up to 127 and of less."""
HEIGHTS, HEIGHT = 17, 200
_TAUGHT = 64  # weights of a tensor from which anything is learnt
Numbers = NDArray[np.float64]
Array = NDArray[np.int8]


@dataclass(frozen=True)
class Learnt:
    """What the file holds: starts [4, 2, 108], heights [4, 17], tops [2, 6], all whole numbers."""

    starts: Numbers
    heights: Numbers
    tops: Numbers

    @property
    def text(self) -> str:
        """The file."""
        pairs = ",\n".join(
            "    {" + ",\n     ".join(_start(row) for row in pair) + "}" for pair in self.starts
        )
        heights = ",\n".join(f"    {_braced(row)}" for row in self.heights)
        rows = (", ".join(_braced(part) for part in row.reshape(2, 3)) for row in self.tops)
        tops = ", ".join("{" + row + "}" for row in rows)
        return _TEXT.format(starts=pairs, heights=heights, tops=tops)

    @classmethod
    def read(cls, text: str) -> Learnt:
        """What a file of that form holds."""
        code = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
        bodies = re.findall(r"=\s*(\{.*?\});", code, flags=re.S)
        starts, heights, tops = (np.array(re.findall(r"-?\d+", body), np.float64) for body in bodies)
        return cls(
            starts.reshape(STARTS, 2, len(FIRST)), heights.reshape(STARTS, HEIGHTS), tops.reshape(2, 6)
        )


_TEXT = """\
/* Written by tools/weights/mixed_start.py: what trained networks taught. */

/* By the share of zeros that a head tells, of sizes up to 127, then of less. */
static const start STARTS[RT_STARTS][2] = {{
{starts}}};

/* How frequent sizes are that are 0, 1/4, ... 4 times the mean size, by the share of zeros. */
static const unsigned char HEIGHTS[RT_STARTS][17] = {{
{heights}}};

/* Thousandths: of going on to the largest size, by its last three bits; before a filter has it, and after. */
static const uint16_t TOPS[2][2][3] = {{{tops}}};
"""


def _braced(row: Iterable[float]) -> str:
    return "{" + ", ".join(f"{number:.0f}" for number in row) + "}"


def _start(row: Numbers) -> str:
    parts, at = [], 0
    for _, rows, count in FIELDS:
        own = [_braced(row[at + count * i : at + count * (i + 1)]) for i in range(rows)]
        parts.append("{" + ",\n       ".join(own) + "}" if rows > 1 else own[0])
        at += rows * count
    return "{" + ",\n      ".join(parts) + "}"


# Learning -------------------------------------------------------------------------------------------


def order_of(shape: tuple[int, ...]) -> Order:
    """Filters, channels and taps as they lie in a model's tensor."""
    kinds = (FILTER, CHANNEL, DOWN if len(shape) > 3 else ACROSS, ACROSS)[: len(shape)]
    kept = [(extent, kind) for extent, kind in zip(shape, kinds, strict=True) if extent > 1] or [(1, FILTER)]
    return Order(tuple(extent for extent, _ in kept), tuple(kind for _, kind in kept))


def learn(tensors: Sequence[Array], passes: int = 2, pace: float = 0.05, seed: int = 1) -> Learnt:
    """From int8 tensors [K, C, H, W], [K, C, W] or [K, C], which are gone through so often in a random order.

    MemoryError where the encoder has none.
    """
    starts = np.tile(np.array(FIRST) * UNITS, (STARTS, 2, 1))
    tops = np.array(TOPS, np.float64) / 1000
    rng = np.random.default_rng(seed)
    for number in range(passes):
        share = pace / (1 + 2 * number)
        for at in rng.permutation(len(tensors)):
            _teach(starts, tops, tensors[at], share)
    rounded = np.clip(np.round(starts / UNITS), -127, 127)
    return Learnt(rounded, _heights(tensors), np.round(tops * 1000).clip(1, 999))


def _teach(starts: Numbers, tops: Numbers, tensor: Array, share: float) -> None:
    """Moves the start of such tensors a share of the way to where the model comes."""
    data = tensor.reshape(-1).view(np.uint8)
    if np.count_nonzero(data) < _TAUGHT:
        return
    head = head_of(data, order_of(tensor.shape))
    few = int((head.largest - 1).bit_length() < 7)
    before = np.concatenate([starts[head.zeros, few], tops[few]])
    moved = (learn_mixed(head.told, data, before) - before) * share
    starts[head.zeros, few] += moved[: len(FIRST)]
    tops[few] += moved[len(FIRST) :]


def _heights(tensors: Sequence[Array]) -> Numbers:
    """How often sizes of so many quarters of their filter's mean occur, by the share of zeros."""
    seen, heights = np.zeros((STARTS, HEIGHTS)), np.ones((STARTS, HEIGHTS))
    for tensor in tensors:
        sizes = np.abs(tensor.reshape(len(tensor), -1).astype(np.int64))
        there = sizes > 0
        if int(sizes.max(initial=0)) < 127:
            continue  # steps as wide as these say little
        zeros = head_of(tensor.reshape(-1).view(np.uint8), order_of(tensor.shape)).zeros
        for row, own in zip(sizes, there, strict=True):
            if own.sum() >= HEIGHTS - 1:
                quarters = np.round(4 * row[own & (row < 127)] / row[own].mean()).astype(np.int64)
                seen[zeros] += np.bincount(quarters.clip(0, HEIGHTS), minlength=HEIGHTS + 1)[:HEIGHTS]
    seen[:, 0] *= 2  # half a step
    for number in np.flatnonzero(seen.sum(axis=1)):
        heights[number] = np.round(4 * HEIGHT * seen[number] / seen[number].sum()).clip(1, 255)
    return heights


def tensors_of(name: str, folder: Path) -> list[Array]:
    """A network's, in all bits and shares of zeros."""
    _, weights = network(name, folder)
    layers = [layer for b in BITS for share in SHARES for layer in weights(b, share)]
    return [_first(np.ascontiguousarray(layer.values)) for layer in layers]


def _first(values: Array) -> Array:
    return values[: max(1, MOST // max(values[:1].size, 1))]


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--public", type=Path, default=PUBLIC, help="where public networks are kept")
    parser.add_argument("--write", type=Path, required=True, metavar="FILE.h")
    given = parser.parse_args(words)
    found = learn([tensor for name in NETWORKS for tensor in tensors_of(name, given.public)])
    write_whole(given.write, found.text.encode())


if __name__ == "__main__":
    main()
