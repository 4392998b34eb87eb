"""What decoders of weights execute on a Raspberry Pi for a decoded byte, by class of instruction.

`python -m secateur.tools.bench.arm.decoders` codes the largest layer of `examples/fashion` by every codec, in
8, 5 and 4 bits and with zeros, and counts under qemu-user what the runtime's decoders and its checksum take.
Megabytes a second are those of the board's core that executes an instruction a cycle: of `rpi3` a Cortex-A53
of 1.2 GHz, of `rpi2` a Cortex-A7 of 0.9 GHz, whose instructions are not told apart. With `--whole` all layers
are decoded one after the other, by codecs or names that stand for several (`best`).
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
from secateur.codegen.link import static_triple
from secateur.codegen.runtime_files import DECODER_SOURCES, RUNTIME_FILES, runtime_folder
from secateur.codegen.targets.rows import TARGETS
from secateur.codegen.toolchain import Toolchain
from secateur.codegen.weights.network import network_table
from secateur.codegen.weights.pacing import paced
from secateur.codegen.weights.registry import CODECS, SHARED
from secateur.codegen.weights.streams import encode
from secateur.ir.onnx_reader import read_model

from ...pages.weights import weights_of
from .counting import EMULATOR, NARROW_EMULATOR, CountError, Counts, snapshots

BOARD = "rpi3"
BOARDS = ("rpi2", "rpi3", "rpi4", "rpi5")
MODEL = Path("examples/fashion/resnet20.onnx")
SLOW = tuple(name for name, row in CODECS.items() if row.slow)
KINDS = ((8, 0.0), (5, 0.0), (4, 0.0), (8, 0.5), (8, 0.8), (5, 0.8), (4, 0.9))
"""Bits and shares of zeros."""
_MAIN = Path(__file__).with_name("decoders.c")
Array = NDArray[np.int8]
Coded = tuple[bytes, Array]


@dataclass(frozen=True)
class Row:
    """What a codec takes for an array, and its decoder for it, with the checksum and all tables."""

    codec: str
    bits_a_weight: float
    counts: Counts
    bytes: int
    clock_ghz: float

    @property
    def instructions(self) -> float:
        return self.counts.total / self.bytes

    @property
    def megabytes(self) -> float:
        """A second, of the core."""
        return 1e3 * self.clock_ghz / self.instructions

    def __str__(self) -> str:
        vectors = sum(self.counts.of(name) for name in ("imlal", "vload", "vstore", "vother")) / self.bytes
        branches = self.counts.of("branch") / self.bytes
        return (
            f"{self.codec:14} {self.bits_a_weight:6.3f} {self.instructions:8.2f} "
            f"{vectors:8.2f} {branches:8.2f} {self.megabytes:7.0f}"
        )


def rows(array: Array, codecs: Sequence[str], board: str = BOARD) -> list[Row]:
    """One of each codec that holds the array itself; CountError where nothing can be counted."""
    table = network_table((array, name) for name in codecs)
    streams = {name: encode(array, name, table) for name in codecs}
    own = {name: stream for name, stream in streams.items() if stream[0] == CODECS[name].number}
    taken = _counted([(stream, array) for stream in own.values()], board, table)
    return [
        _row(codec, [(own[codec], array)], [counts], board, len(table) if codec in SHARED else 0)
        for codec, counts in zip(own, taken, strict=True)
    ]


def whole(layers: Sequence[Array], codec: str, board: str = BOARD) -> Row:
    """All of a network's layers, by what a codec's name stands for on the board."""
    codecs = paced(layers, [codec] * len(layers), TARGETS[board])
    table = network_table(zip(layers, codecs, strict=True))
    coded = [(encode(array, own, table), array) for array, own in zip(layers, codecs, strict=True)]
    return _row(codec, coded, _counted(coded, board, table), board, len(table))


def _row(codec: str, coded: Sequence[Coded], taken: Sequence[Counts], board: str, table: int = 0) -> Row:
    bytes = sum(array.nbytes for _, array in coded)
    bits = 8 * (table + sum(len(stream) for stream, _ in coded)) / bytes
    counts = Counts(tuple(map(sum, zip(*(own.by_class for own in taken), strict=True))))
    return Row(codec, bits, counts, bytes, TARGETS[board].rates.clock_ghz)


def _counted(coded: Sequence[Coded], board: str, table: bytes) -> list[Counts]:
    """Of each stream."""
    cpu = TARGETS[board].host
    emulator = NARROW_EMULATOR if cpu.architecture == "armv7" else EMULATOR
    sizes = [(stream, array.nbytes) for stream, array in coded]
    with tempfile.TemporaryDirectory(prefix="secateur-") as name:
        found, told = snapshots(program(Path(name), sizes, static_triple(cpu), table), cpu.core, emulator)
    if told.split() != [str(zlib.adler32(array.tobytes())) for _, array in coded]:
        raise CountError("the decoders give other bytes than were encoded")
    return [after - before for before, after in zip(found[::2], found[1::2], strict=False)]


def program(
    folder: Path, streams: Iterable[tuple[bytes, int]], triple: str, table: bytes = b""
) -> list[str | Path]:
    """A static program that decodes streams of arrays of so many bytes each, with its argument.

    `table` is what they have in common.
    """
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
        len(table).to_bytes(4, "little")
        + table
        + b"".join(len(s).to_bytes(4, "little") + bytes.to_bytes(4, "little") + s for s, bytes in streams)
    )
    return [tools.link(folder, ("-O2", "-static", "-s"), objects, "decoders"), file]


def layers(model: Path, bits: int, pruned: float) -> list[Array]:
    """The values of the model's layers."""
    return [np.ascontiguousarray(own.values) for own in weights_of(read_model(model), bits, pruned)]


def largest(model: Path, bits: int, pruned: float, filters: int | None = None) -> Array:
    """The values of the model's largest layer, or of so many filters of it."""
    return max(layers(model, bits, pruned), key=lambda values: values.size)[:filters]


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("codecs", nargs="*", default=[name for name in CODECS if name not in SLOW])
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--board", choices=BOARDS, default=BOARD)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--filters", type=int, help="so many of the largest layer")
    given = parser.parse_args(words)
    print(f"{'codec':14} {'bits':>6} {'instr.':>8} {'vector':>8} {'branch':>8} {'MB/s':>7}   a decoded byte")
    for bits, pruned in KINDS:
        print(f"{bits} bits, {pruned:.0%} zeros")
        if given.whole:
            found = [whole(layers(given.model, bits, pruned), name, given.board) for name in given.codecs]
        else:
            found = rows(largest(given.model, bits, pruned, given.filters), given.codecs, given.board)
        for row in found:
            print(row, flush=True)


if __name__ == "__main__":
    main()
