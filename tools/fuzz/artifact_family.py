"""Damaged artifacts: refused, or else as good as the sound one."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from secateur.runtime import elf
from secateur.runtime.manifest import MANIFEST_SECTION, SEAL_MAGIC, SEAL_SECTION, read_manifest
from secateur.runtime.session import load

from . import checks
from .family import Family
from .mutate import mutate_bytes, mutate_text
from .seeds import SEEDS

ELF = b"\x7fELF"
HEADERS = 4096


@cache
def sound() -> dict[str, bytes]:
    """The first seed compiled for this machine, as `.so` and as tar."""
    from secateur import compile
    from secateur.ir.onnx_reader import read_model

    graph = read_model(SEEDS[0].model())
    files = {}
    with TemporaryDirectory() as folder:
        for kind in ("so", "tar"):
            path = Path(folder) / f"model.{kind}"
            compile(graph, path, kind="so" if kind == "so" else "tar")
            files[kind] = path.read_bytes()
    return files


def answers(path: Path) -> dict[str, checks.Array]:
    """The artifact's answers on noise."""
    import numpy as np

    with load(path) as session:
        generator = np.random.default_rng(3)
        inputs = {
            port.name: generator.standard_normal(port.shape).astype(port.dtype) for port in session.inputs
        }
        return session.run(inputs)


@cache
def sound_answers() -> dict[str, checks.Array]:
    """What the undamaged artifact answers."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.so"
        path.write_bytes(sound()["so"])
        return answers(path)


def resealed(data: bytes, manifest: bytes) -> bytes:
    """A library with another manifest, cut or padded to the same length, and a seal that fits."""
    from secateur.codegen.artifact import seal

    sections = elf.sections(memoryview(data))
    place, sealed = sections[MANIFEST_SECTION], sections[SEAL_SECTION]
    changed = bytearray(data)
    changed[place.offset : place.offset + place.size] = manifest[: place.size].ljust(place.size)
    fields = slice(sealed.offset + len(SEAL_MAGIC), sealed.offset + sealed.size)
    changed[fields] = bytes(fields.stop - fields.start)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.so"
        path.write_bytes(changed)
        seal(path)
        return path.read_bytes()


def _mutated_manifest(random: Random, data: bytes) -> bytes:
    place = elf.sections(memoryview(data))[MANIFEST_SECTION]
    text = data[place.offset : place.offset + place.size].decode()
    return resealed(data, mutate_text(random, text).encode("utf-8", "surrogatepass"))


def _mutated(random: Random, data: bytes) -> bytes:
    """Anywhere, or in the first or last bytes, where the tables are."""
    place = random.randrange(3)
    if place == 0:
        return mutate_bytes(random, data)
    if place == 1:
        return mutate_bytes(random, data[:HEADERS]) + data[HEADERS:]
    return data[:-HEADERS] + mutate_bytes(random, data[-HEADERS:])


class ArtifactFamily(Family):
    """A `.so` or tar with changed bytes; or a sealed `.so` whose manifest says something else (never run)."""

    name = "artifact"
    suffix = ".artifact"

    def make(self, seed: int) -> bytes:
        random = Random(seed)
        if random.random() < 0.2:
            return _mutated_manifest(random, sound()["so"])
        return _mutated(random, sound()[random.choice(("so", "tar"))])

    def check(self, data: bytes, _seed: int, folder: Path, _say: Any) -> str:
        path = folder / "model.artifact"
        path.write_bytes(data)
        manifest = read_manifest(path)
        json.dumps(manifest)
        if data.startswith(ELF) and data != sound()["so"]:
            return "manifest"
        found = answers(path)
        checks.compare("a damaged artifact answers otherwise", sound_answers(), found)
        return "run"
