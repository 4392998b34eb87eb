"""How much coded weights take, and how fast they decode, beside NNC (ISO/IEC 15938-17).

`python -m secateur.tools.bench.weights_speed` codes the largest layers of `examples/fashion` by `small` and
by NNC's arithmetic coder, where the package `nncodec` can be imported, and decodes both on one core:
processor time, the fastest of many decodings, the two in turns. What is decoded is compared with what was
coded. `--large` takes one tensor of 589,824 numbers of a bell curve instead, and `--codec` another codec.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.codegen.link import static_triple
from secateur.codegen.targets.host import host
from secateur.codegen.weights.registry import SMALL
from secateur.codegen.weights.streams import encode
from secateur.ir.errors import SecateurError
from secateur.ir.onnx_reader import read_model

from ..pages.weights import rounded, weights_of
from .arm.decoders import MODEL, program
from .peers.weights import nnc_coder, nnc_decode, nnc_encode

KINDS = ((8, 0.0), (8, 0.5), (8, 0.8), (5, 0.5), (5, 0.8), (4, 0.9))
"""Bits and shares of zeros."""
LAYERS = 3
TURNS = 10
LARGE = (1024, 64, 3, 3)
OURS_A_TURN, NNC_A_TURN = 50, 3
Array = NDArray[np.int8]


@dataclass(frozen=True)
class Speed:
    """Of so many weights: what they take, and the seconds of their fastest decodings."""

    weights: int
    bytes: int
    seconds: float

    @property
    def bits(self) -> float:
        return 8 * self.bytes / self.weights

    @property
    def megabytes(self) -> float:
        """Of weights, a second."""
        return self.weights / self.seconds / 1e6


def speeds(arrays: Sequence[Array], codec: str, nnc: Any | None, turns: int = TURNS) -> list[Speed]:
    """Of ours, then of NNC where there is one; SecateurError where a decoder gives other values."""
    weights, ours = sum(a.size for a in arrays), [encode(a, codec) for a in arrays]
    theirs = [] if nnc is None else [nnc_encode(nnc, a, rows=(0,)) for a in arrays]
    own, other = np.full(len(arrays), np.inf), np.full(len(arrays), np.inf)
    for _ in range(turns):
        own = np.minimum(own, [_our_seconds(s, a) for s, a in zip(ours, arrays, strict=True)])
        if nnc is not None:
            taken = [_nnc_seconds(nnc, s, a) for s, a in zip(theirs, arrays, strict=True)]
            other = np.minimum(other, taken)
    found = [Speed(weights, sum(map(len, ours)), float(own.sum()))]
    return found if nnc is None else [*found, Speed(weights, sum(map(len, theirs)), float(other.sum()))]


def _our_seconds(stream: bytes, array: Array) -> float:
    with tempfile.TemporaryDirectory(prefix="secateur-") as name:
        command = program(Path(name), [(stream, array.nbytes)], static_triple(host().host))
        done = subprocess.run([*command, str(OURS_A_TURN)], capture_output=True, text=True)
    sum, _, nanoseconds = done.stdout.partition(" ")
    if sum != str(zlib.adler32(array.tobytes())):
        raise SecateurError(f"our decoder gives other weights: {done.stdout or done.stderr}")
    return int(nanoseconds) * 1e-9


def _nnc_seconds(nnc: Any, stream: bytes, array: Array) -> float:
    found = [nnc_decode(nnc, stream, array.shape) for _ in range(NNC_A_TURN)]
    if not all(np.array_equal(values, array) for values, _ in found):
        raise SecateurError("NNC's decoder gives other weights")
    return min(seconds for _, seconds in found)


def largest(model: Path, bits: int, pruned: float) -> list[Array]:
    """The values of the model's largest layers; of equally large ones those that come first."""
    layers = [np.ascontiguousarray(own.values) for own in weights_of(read_model(model), bits, pruned)]
    return sorted(layers, key=lambda values: -values.size)[:LAYERS]


def large(bits: int, pruned: float) -> Array:
    """Numbers of a bell curve, as weights of so many bits; a share of them, the smallest, zero."""
    drawn = np.random.default_rng(0).standard_normal(LARGE).astype(np.float32)
    drawn[np.abs(drawn) < np.quantile(np.abs(drawn), pruned)] = 0
    return rounded(drawn, bits)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--codec", default=SMALL)
    parser.add_argument("--large", action="store_true")
    given = parser.parse_args(words)
    nnc = nnc_coder()
    print("| bits | zeros | ours, bits | MB/s | NNC, bits | MB/s | times |\n" + "| --- " * 7 + "|")
    for bits, pruned in KINDS:
        arrays = [large(bits, pruned)] if given.large else largest(given.model, bits, pruned)
        found = speeds(arrays, given.codec, nnc)
        cells = [f"{own.bits:.3f} | {float(f'{own.megabytes:.3g}'):g}" for own in found]
        cells += [f"{found[0].megabytes / found[1].megabytes:.1f}"] if nnc else ["- | - | -"]
        print(f"| {bits} | {pruned:.0%} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
