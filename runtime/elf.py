"""A reader of ELF section tables: any class of little-endian file, any architecture, nothing loaded."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..errors import SecateurError

MACHINES = {3: "i386", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64"}


class ElfError(SecateurError):
    """The bytes are not an ELF file that this reader understands."""


@dataclass(frozen=True)
class Section:
    """A named range of the file, in bytes."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True)
class _Class:
    """Where one ELF class keeps the fields that are needed here."""

    bits: int
    header: struct.Struct  # from byte 16: machine, section table, entry size, count, names
    section: struct.Struct  # name, offset, size


_CLASSES = {
    1: _Class(32, struct.Struct("<2xH12xI10xHHH"), struct.Struct("<I12xII16x")),
    2: _Class(64, struct.Struct("<2xH20xQ10xHHH"), struct.Struct("<I20xQQ24x")),
}


def _class(data: memoryview) -> _Class:
    if len(data) < 64 or bytes(data[:4]) != b"\x7fELF":
        raise ElfError("not an ELF file")
    if data[4] not in _CLASSES or data[5] != 1:
        raise ElfError("not a little-endian ELF file of 32 or 64 bits")
    return _CLASSES[data[4]]


def machine(data: memoryview) -> str:
    """The architecture's name as the kernel gives it (`x86_64`, `aarch64`, `arm`, ...), or its number."""
    number = _class(data).header.unpack_from(data, 16)[0]
    return MACHINES.get(number, f"machine {number}")


def sections(data: memoryview) -> dict[str, Section]:
    """All sections by name; ElfError where a table or a section lies outside the file."""
    kind = _class(data)
    _, table, entry, count, names = kind.header.unpack_from(data, 16)
    if entry != kind.section.size or table + entry * count > len(data) or names >= count:
        raise ElfError("the section table lies outside the file")
    rows = [kind.section.unpack_from(data, table + i * entry) for i in range(count)]
    _, strings, strings_size = rows[names]
    found = [Section(_name(data, strings, strings_size, at), offset, size) for at, offset, size in rows]
    return {section.name: section for section in found}


def contents(data: memoryview, section: Section) -> memoryview:
    """The bytes of a section."""
    if section.offset + section.size > len(data):
        raise ElfError(f"section {section.name} lies outside the file")
    return data[section.offset : section.offset + section.size]


def _name(data: memoryview, table: int, size: int, at: int) -> str:
    text = bytes(data[table + at : min(table + at + 256, table + size)])
    return text.split(b"\0", 1)[0].decode("ascii", "replace")
