"""Artifacts whose coded weights are damaged, under a seal that fits: an error, or the sound one's answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from secateur.codegen.artifact import seal
from secateur.codegen.destination import SEAL_FIELDS, SEAL_MAGIC
from secateur.codegen.program import Program
from secateur.codegen.sources import streams_of
from secateur.ir.parser import parse_graph
from secateur.runtime.session import SessionError, load

from . import checks
from .family import Family
from .mutate import mutate_bytes

PIPELINES: Mapping[str, str] = {
    "kept": "canonicalize,fuse,select,layout,memory,store{codec=best}",
    "smallest": "canonicalize,fuse,select,layout,memory,store{codec=smallest}",
    "streamed": "canonicalize,fuse,select{kept=0,codec=fast},layout,memory,store{codec=fast}",
    "some": "canonicalize,fuse,select{kept=10000,codec=rans},layout,memory,store{codec=rans}",
    "network": "canonicalize,fuse,select{kept=10000,codec=network-huffman},layout,memory,"
    "store{codec=network-huffman}",
}
_CHANNELS = 16
_TEXT = """
graph @coded(%x: tensor<1x16x6x6xf32>) {
  %v = nn.constant() {value = dense_resource<"v">} : tensor<16x16x3x3xf32>
  %w = nn.constant() {value = dense_resource<"w">} : tensor<16x16x3x3xf32>
  %y = nn.conv(%x, %v) {strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1]} : tensor<1x16x6x6xf32>
  %r = nn.relu(%y) : tensor<1x16x6x6xf32>
  %z = nn.conv(%r, %w) {strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1]} : tensor<1x16x6x6xf32>
  return %z as "z"
}
"""


@dataclass(frozen=True)
class Sound:
    """An artifact, and where its streams lie."""

    library: bytes
    begin: int
    end: int


@cache
def sound(kind: str) -> Sound:
    """A small network with weights coded in one of these ways."""
    from secateur.codegen.backends.registry import backend_of
    from secateur.codegen.targets.find import find
    from secateur.compiler import build
    from secateur.prepare import prepare

    rng, row = np.random.default_rng(5), find("host")
    shape = (_CHANNELS, _CHANNELS, 3, 3)
    weights = {name: np.round(rng.standard_normal(shape) * 8).astype(np.float32) for name in "vw"}
    program = build(parse_graph(_TEXT, weights), row, prepare(PIPELINES[kind], row)).program
    assert isinstance(program, Program)
    with TemporaryDirectory() as folder:
        library = backend_of(row).write(program, Path(folder) / "model.so").read_bytes()
    streams = b"".join(streams_of(program))
    begin = library.index(streams)
    return Sound(library, begin, begin + len(streams))


def answers(path: Path, threads: int = 1) -> dict[str, checks.Array]:
    x = np.random.default_rng(3).standard_normal((1, _CHANNELS, 6, 6)).astype(np.float32)
    with load(path, threads) as session:
        return session.run({"x": x})


@cache
def sound_answers(kind: str) -> dict[str, checks.Array]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.so"
        path.write_bytes(sound(kind).library)
        return answers(path)


def damaged(random: Random, given: Sound) -> bytes:
    """The library with its streams changed, in the same number of bytes."""
    streams = given.library[given.begin : given.end]
    changed = mutate_bytes(random, streams)[: len(streams)].ljust(len(streams), b"\0")
    return given.library[: given.begin] + changed + given.library[given.end :]


def _sealed(data: bytes, path: Path) -> None:
    """Writes the library with a seal that fits, so that the runtime must notice itself."""
    blank = bytearray(data)
    end = blank.find(SEAL_MAGIC) + len(SEAL_MAGIC)
    blank[end : end + SEAL_FIELDS.size] = bytes(SEAL_FIELDS.size)
    path.write_bytes(blank)
    seal(path)


class CodedFamily(Family):
    """A sealed library with changed streams, decoded when it is loaded or in each run, by one thread or two.

    In front of it stand the number of its kind, and the threads.
    """

    name = "coded"
    suffix = ".coded"

    def make(self, seed: int) -> bytes:
        random = Random(seed)
        number = random.randrange(len(PIPELINES))
        given = sound(tuple(PIPELINES)[number])
        return bytes([number, random.choice((1, 2))]) + damaged(random, given)

    def check(self, data: bytes, _seed: int, folder: Path, _say: Any) -> str:
        kind, path = tuple(PIPELINES)[data[0]], folder / "model.so"
        _sealed(data[2:], path)
        try:
            found = answers(path, data[1])
        except SessionError as error:
            if "coded weights are damaged" not in str(error):
                raise
            return "refused"
        checks.compare("damaged weights give another answer", sound_answers(kind), found)
        return "run"
