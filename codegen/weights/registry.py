"""The codecs by name, and their numbers in streams, which never change their meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .blocks import Patterns, SharedBlocks
from .codec import Codec
from .huffman import Huffman, NetworkHuffman, ZeroRun
from .mixed import Mixed
from .nibbles import Nibbles
from .plain import Bitmap, Dictionary, Raw
from .planes import Planes
from .rans import Rans
from .zeros import Zeros


@dataclass(frozen=True)
class Row:
    """One codec: its number in a stream, and whether it decodes about as fast as memory is read.

    One that is `slow` takes a second and more for every million weights; the streams of one that is `shared`
    have something in common (`network`). Both are used where they are asked for.
    `room` is the kind of memory in which its decoder works: `RT_ROOM_...` of `runtime/decode.h`.
    """

    number: int
    codec: Codec
    room: str = "PLAIN"
    fast: bool = False
    slow: bool = False
    shared: bool = False


CODECS: Mapping[str, Row] = {
    "raw": Row(0, Raw(), fast=True),
    "dictionary": Row(1, Dictionary(), fast=True),
    "bitmap": Row(2, Bitmap(), fast=True),
    "huffman": Row(3, Huffman(), "PREFIX"),
    "zero-run": Row(4, ZeroRun(), "PREFIX"),
    "patterns": Row(5, Patterns(), "PREFIX"),
    "shared-blocks": Row(6, SharedBlocks(), fast=True),
    "rans": Row(7, Rans(), "RANS"),
    "planes": Row(8, Planes(), "PLANES"),
    "nibbles": Row(10, Nibbles(), "RANS", fast=True),
    "zeros": Row(11, Zeros(), "ZEROS"),
    "mixed": Row(13, Mixed(), "MIXED", slow=True),  # 9 and 12 were its forms before
    "network-huffman": Row(14, NetworkHuffman(), "PREFIX", shared=True),
}
SHARED = tuple(name for name, row in CODECS.items() if row.shared)
BY_NUMBER = {row.number: name for name, row in CODECS.items()}

FAST, BEST, SMALL, SMALLEST = "fast", "best", "small", "smallest"
CHOOSING = {
    FAST: tuple(name for name, row in CODECS.items() if row.fast),
    BEST: tuple(name for name, row in CODECS.items() if not row.slow | row.shared),
    SMALL: tuple(name for name, row in CODECS.items() if not row.slow | row.shared),
    SMALLEST: tuple(name for name, row in CODECS.items() if not row.shared),
}
"""Names that stand for several codecs, of which the one that takes the least is used, tensor by tensor.

Where a target's processor would take longer to decode than to read the plain bytes, `best` is the least with
which it does not (`pacing`).
"""
JOINT = "+"
"""Between the names of several codecs, of which the one that takes the least is used."""
NAMES = (*CODECS, *CHOOSING)


def holds_filters(name: str) -> bool:
    """Whether files hold filters instead of what Winograd's transform makes of them, and more bytes.

    Not where weights are as they are, nor where they are to be decoded about as fast as memory is read.
    """
    return name not in ("", FAST)


def named(name: str) -> tuple[str, ...]:
    """The codecs that a name, or several joined by `+`, stand for; KeyError for a name of none."""
    if name in CHOOSING:
        return CHOOSING[name]
    names = tuple(dict.fromkeys(name.split(JOINT)))
    if unknown := [own for own in names if own not in CODECS]:
        raise KeyError(unknown[0])
    return names
