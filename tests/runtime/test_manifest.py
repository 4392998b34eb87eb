"""Reading manifests, and refusing what is damaged or foreign."""

from __future__ import annotations

import ctypes.util
import json
import random
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from secateur.codegen.artifact import write_artifact
from secateur.runtime import elf
from secateur.runtime.manifest import ArtifactError, read_manifest
from secateur.runtime.session import load


def test_manifest_of_so_folder_and_tar(
    model_so: Path, model_dir: Path, programs: ModuleType, tmp_path: Path
) -> None:
    tar = write_artifact(programs.scale_relu_sum(), tmp_path / "tiny.tar", "tar")
    manifest = read_manifest(model_so)
    assert manifest["name"] == "tiny"
    assert manifest["inputs"] == [{"name": "x", "dtype": "f32", "shape": [37, 24], "bytes": 3552}]
    assert [row["label"] for row in manifest["operators"]] == ['mul "1"', "relu_1", "sum_1"]
    assert read_manifest(model_dir) == read_manifest(tar) == manifest
    assert json.loads((model_dir / "manifest.json").read_text()) == manifest


@pytest.mark.parametrize("target", ["AARCH64", "ARMV7"])
def test_manifest_of_another_architecture(programs: ModuleType, tmp_path: Path, target: str) -> None:
    row = getattr(programs, target)
    path = write_artifact(programs.scale_relu_sum(row), tmp_path / "model.so")
    assert read_manifest(path)["target"]["triple"] == row.triple
    assert elf.machine(memoryview(path.read_bytes())) == {"AARCH64": "aarch64", "ARMV7": "arm"}[target]


def _libc() -> bytes:
    name = ctypes.util.find_library("c")
    found = subprocess.run(["ldd", sys.executable], capture_output=True, text=True).stdout.split()
    return Path(next(word for word in found if word.startswith("/") and str(name) in word)).read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "neither a model.so nor a tar"),
        (b"\x7fELF", "not an ELF file"),
        (b"\x7fELF\x02\x02" + bytes(80), "not a little-endian ELF"),
        (b"\x7fELF\x02\x01" + b"\xff" * 80, "section table lies outside"),
        (b"PK\x03\x04 not a tar", "neither a model.so nor a tar"),
        (bytes(10240), "neither a model.so nor a tar"),
    ],
)
def test_foreign_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.so"
    path.write_bytes(content)
    for read in (read_manifest, load):
        with pytest.raises(ArtifactError, match=message):
            read(path)


def test_a_foreign_library_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.so"
    path.write_bytes(_libc())
    with pytest.raises(ArtifactError, match="a shared library, but no Secateur artifact"):
        load(path)


def test_missing_paths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"absent\.so: No such file"):
        load(tmp_path / "absent.so")
    with pytest.raises(ArtifactError, match=r"model\.so: No such file"):
        load(tmp_path)


@pytest.mark.parametrize("kind", ["so", "tar"])
def test_every_cut_is_refused(programs: ModuleType, tmp_path: Path, kind: str) -> None:
    whole = write_artifact(programs.scale_relu_sum(), tmp_path / "whole", kind).read_bytes()
    path = tmp_path / "cut"
    model = len(whole) if kind == "so" else whole.index(b"\x7fELF", whole.index(b"model.so"))
    for length in random.Random(0).sample(range(model), 300):
        path.write_bytes(whole[:length])
        with pytest.raises(ArtifactError):
            load(path)


def test_every_flipped_bit_is_refused(model_so: Path, tmp_path: Path) -> None:
    whole = model_so.read_bytes()
    path = tmp_path / "flipped.so"
    chance = random.Random(1)
    for position in [*range(64), *chance.sample(range(len(whole)), 500)]:
        damaged = bytearray(whole)
        damaged[position] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError):
            load(path)


def test_damaged_tars_are_refused_or_right(programs: ModuleType, tmp_path: Path) -> None:
    path = write_artifact(programs.scale_relu_sum(), tmp_path / "tiny.tar", "tar")
    manifest, whole = read_manifest(path), path.read_bytes()
    chance = random.Random(2)
    headers = [i for i in range(0, len(whole), 512) if whole[i + 257 : i + 262] == b"ustar"]
    refused = 0
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[chance.choice(headers) + chance.randrange(512)] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        try:
            assert read_manifest(path) == manifest
        except ArtifactError:
            refused += 1
    assert refused > 40


def test_appended_bytes_are_refused(model_so: Path, tmp_path: Path) -> None:
    path = tmp_path / "longer.so"
    path.write_bytes(model_so.read_bytes() + b"\0")
    with pytest.raises(ArtifactError, match="damaged"):
        load(path)
