"""What decoders of weights execute on AArch64 for a decoded byte, by class of instruction.

`python -m secateur.tools.bench.arm.decoders` codes the largest layer of `examples/fashion` by every codec, in
8, 5 and 4 bits and with zeros, and counts under qemu-user what the runtime's decoders and its checksum take.
Megabytes a second are those of a Cortex-A53 of 1.2 GHz that executes an instruction a cycle.
"""

from __future__ import annotations

import argparse
import tempfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from secateur.codegen.folder import cache_folder
from secateur.codegen.runtime_files import DECODER_SOURCES, RUNTIME_FILES, runtime_folder
from secateur.codegen.toolchain import Toolchain
from secateur.codegen.weights.registry import CODECS
from secateur.codegen.weights.streams import encode
from secateur.ir.onnx_reader import read_model

from ...pages.weights import weights_of
from .counting import CountError, Counts, snapshots

TRIPLE, CORE = "aarch64-linux-musl", "cortex-a53"
CLOCK_MHZ = 1200
MODEL = Path("examples/fashion/resnet20.onnx")
SLOW = tuple(name for name, row in CODECS.items() if row.slow)
KINDS = ((8, 0.0), (5, 0.0), (4, 0.0), (8, 0.5), (8, 0.8), (5, 0.8), (4, 0.9))
"""Bits and shares of zeros."""
_MAIN = Path(__file__).with_name("decoders.c")
Array = NDArray[np.int8]


@dataclass(frozen=True)
class Row:
    """What a codec takes for an array, and its decoder for it, with the checksum and all tables."""

    codec: str
    bits_a_weight: float
    counts: Counts
    bytes: int

    @property
    def instructions(self) -> float:
        return self.counts.total / self.bytes

    @property
    def megabytes(self) -> float:
        """A second, of the core."""
        return CLOCK_MHZ / self.instructions

    def __str__(self) -> str:
        vectors = sum(self.counts.of(name) for name in ("imlal", "vload", "vstore", "vother")) / self.bytes
        branches = self.counts.of("branch") / self.bytes
        return (
            f"{self.codec:14} {self.bits_a_weight:6.3f} {self.instructions:8.2f} "
            f"{vectors:8.2f} {branches:8.2f} {self.megabytes:7.0f}"
        )


def rows(array: Array, codecs: Sequence[str]) -> list[Row]:
    """One of each codec that holds the array itself; CountError where nothing can be counted."""
    streams = {name: encode(array, name) for name in codecs}
    own = {name: stream for name, stream in streams.items() if stream[0] == CODECS[name].number}
    with tempfile.TemporaryDirectory(prefix="secateur-") as name:
        found, told = snapshots(program(Path(name), own.values(), array.nbytes, TRIPLE), CORE)
    if told.split() != [str(zlib.adler32(array.tobytes()))] * len(own):
        raise CountError("the decoders give other bytes than were encoded")
    taken = [after - before for before, after in zip(found[::2], found[1::2], strict=False)]
    return [
        Row(codec, 8 * len(stream) / array.size, counts, array.nbytes)
        for (codec, stream), counts in zip(own.items(), taken, strict=True)
    ]


def program(folder: Path, streams: Iterable[bytes], bytes: int, triple: str) -> list[str | Path]:
    """A static program that decodes streams of arrays of so many bytes each, with its argument."""
    for name in RUNTIME_FILES:
        (folder / name).write_bytes(runtime_folder().joinpath(name).read_bytes())
    (folder / _MAIN.name).write_bytes(_MAIN.read_bytes())
    tools = Toolchain(triple, cache_folder())
    objects = [
        *tools.runtime(folder, ("cpu.c", *DECODER_SOURCES)),
        tools.compile(folder, _MAIN.name, "main.o"),
    ]
    file = folder / "streams"
    file.write_bytes(
        b"".join(len(s).to_bytes(4, "little") + bytes.to_bytes(4, "little") + s for s in streams)
    )
    return [tools.link(folder, ("-O2", "-static", "-s"), objects, "decoders"), file]


def largest(model: Path, bits: int, pruned: float) -> Array:
    """The values of the model's largest layer."""
    layers = weights_of(read_model(model), bits, pruned)
    return np.ascontiguousarray(max((layer.values for layer in layers), key=lambda values: values.size))


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("codecs", nargs="*", default=[name for name in CODECS if name not in SLOW])
    parser.add_argument("--model", type=Path, default=MODEL)
    given = parser.parse_args(words)
    print(f"{'codec':14} {'bits':>6} {'instr.':>8} {'vector':>8} {'branch':>8} {'MB/s':>7}   a decoded byte")
    for bits, pruned in KINDS:
        print(f"{bits} bits, {pruned:.0%} zeros")
        for row in rows(largest(given.model, bits, pruned), given.codecs):
            print(row, flush=True)


if __name__ == "__main__":
    main()
