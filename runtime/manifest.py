"""Reading what an artifact says about itself, without loading it: `.so`, folder or tar, of any architecture.

A model.so carries a JSON manifest in the section `.secateur.manifest` and a seal
in `.secateur.seal`: 16 bytes of magic, the file's size (8 bytes) and its CRC-32
(4 bytes, little-endian), computed with those 12 bytes zero. The seal tells a
damaged file from a sound one before any of its code runs; it is no signature.
"""

from __future__ import annotations

import json
import mmap
import struct
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..errors import SecateurError
from . import elf

FORMAT = 1
MANIFEST_SECTION = ".secateur.manifest"
SEAL_SECTION = ".secateur.seal"
SEAL_MAGIC = b"secateur seal 1\0"
_SEAL = struct.Struct("<QI")  # size and CRC-32 of the file
MODEL_NAME = "model.so"


class ArtifactError(SecateurError):
    """A file is no artifact, is damaged, or was made for something else."""


@dataclass(frozen=True)
class Image:
    """A verified model.so in memory; `path` is where it lies as a file of its own, None inside a tar."""

    data: memoryview
    path: Path | None
    machine: str
    manifest: dict[str, Any]


def read_manifest(path: str | Path) -> dict[str, Any]:
    """The manifest of an artifact (`.so`, folder or tar); ArtifactError where it is damaged or foreign."""
    with open_image(path) as image:
        return image.manifest


@contextmanager
def open_image(path: str | Path) -> Iterator[Image]:
    """The verified model.so of an artifact; its memory is valid inside the `with`."""
    path = Path(path)
    file = path / MODEL_NAME if path.is_dir() else path
    try:
        handle = file.open("rb")
    except OSError as error:
        raise ArtifactError(f"{file}: {error.strerror}") from None
    with handle:
        begin, size = _find_model(handle, path)
        with _mapped(handle, path) as data, data[begin : begin + size] as model:
            try:
                image = _verify(model, None if begin else file)
            except (ArtifactError, elf.ElfError) as error:
                raise ArtifactError(f"{path}: {error}") from None
            yield image


@contextmanager
def _mapped(handle: IO[bytes], path: Path) -> Iterator[memoryview]:
    try:
        mapping = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
    except (ValueError, OSError):
        raise ArtifactError(f"{path}: the file is empty or cannot be mapped") from None
    with mapping, memoryview(mapping) as data:
        yield data


def _find_model(handle: IO[bytes], path: Path) -> tuple[int, int]:
    """Offset and size of the model.so within the file: 0 and all of it unless the file is a tar."""
    size = handle.seek(0, 2)
    handle.seek(0)
    if handle.read(4) == b"\x7fELF":
        return 0, size
    handle.seek(0)
    try:
        with tarfile.open(fileobj=handle, mode="r:") as archive:
            member = archive.getmember(MODEL_NAME)
    except (tarfile.TarError, KeyError, ValueError, OverflowError, EOFError, OSError):
        raise ArtifactError(f"{path}: neither a model.so nor a tar that holds one") from None
    if not member.isreg() or member.offset_data + member.size > size:
        raise ArtifactError(f"{path}: {MODEL_NAME} in the tar is cut short")
    return member.offset_data, member.size


def _verify(data: memoryview, path: Path | None) -> Image:
    sections = elf.sections(data)
    if MANIFEST_SECTION not in sections or SEAL_SECTION not in sections:
        raise ArtifactError("a shared library, but no Secateur artifact")
    _check_seal(data, sections[SEAL_SECTION])
    manifest = _parse(bytes(elf.contents(data, sections[MANIFEST_SECTION])))
    return Image(data, path, elf.machine(data), manifest)


def _check_seal(data: memoryview, section: elf.Section) -> None:
    seal = bytes(elf.contents(data, section))
    begin = section.offset + len(SEAL_MAGIC)
    end = begin + _SEAL.size
    if not seal.startswith(SEAL_MAGIC) or section.offset + len(seal) < end:
        raise ArtifactError("the artifact is damaged: its seal is broken; copy it again, or compile anew")
    checksum = zlib.crc32(data[end:], zlib.crc32(bytes(_SEAL.size), zlib.crc32(data[:begin])))
    if _SEAL.unpack_from(data, begin) != (len(data), checksum):
        raise ArtifactError(
            "the artifact is damaged: its contents do not match its seal; copy it again, or compile anew"
        )


def _parse(text: bytes) -> dict[str, Any]:
    try:
        manifest = json.loads(text)
    except (ValueError, RecursionError):
        raise ArtifactError("the manifest is not JSON") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else None
        raise ArtifactError(
            f"the manifest has format {found}; this version reads format {FORMAT}; compile the model again"
        )
    return manifest
