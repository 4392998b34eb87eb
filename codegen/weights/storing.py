"""A program's constants as streams."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from secateur.ir.errors import SecateurError
from secateur.ir.support.progress import Progress, silent
from secateur.ir.support.words import known_names

from .known import stream_of
from .registry import BY_NUMBER, CHOOSING, JOINT, NAMES
from .streams import SPLIT, Array, Codecs

PLAIN = "raw"


def check_codec(name: str) -> None:
    """SecateurError for a name of no codec, or for several names one of which says nothing more."""
    if name in NAMES:
        return
    several = name.split(JOINT)
    for number, own in enumerate(several):
        if own not in NAMES:
            raise SecateurError(f"there is no codec '{own}' of weights{known_names(own, list(NAMES))}")
        if own in CHOOSING:
            raise SecateurError(f"codec '{name}': '{own}' stands for several itself, and is named alone")
        if own in several[:number]:
            raise SecateurError(f"codec '{name}': '{own}' is named twice")
        if own == PLAIN:
            raise SecateurError(f"codec '{name}': leave out '{own}'; so is stored what gets no shorter")


def coded(
    arrays: Sequence[Array],
    stored: Sequence[Codecs],
    progress: Progress = silent,
    made: Sequence[bool] = (),
    table: bytes = b"",
) -> tuple[bytes, ...]:
    """The stream of each array by its codec, as it is for an empty name; none where all are.

    `table` is what they have in common (`network`). One that is `made` of others has an empty stream.
    SecateurError for a name of no codec.
    """
    for own in sorted({codec for codec in stored if codec and isinstance(codec, str)}):
        check_codec(own)
    if not any(stored):
        return ()
    streams = []
    for number, (array, name) in enumerate(zip(arrays, stored, strict=True)):
        progress("weights", number, len(arrays))
        streams.append(b"" if made and made[number] else stream_of(array, name or PLAIN, table))
    return tuple(streams)


def codec_of(stream: bytes) -> str:
    """The name of a stream's codec; `split` where bytes of the elements have one each."""
    return "split" if stream[0] == SPLIT else BY_NUMBER[stream[0]]


@dataclass(frozen=True)
class Entry:
    """A stream's row in the artifact: where it begins and ends, where its bytes go, and their Adler-32.

    They go into the weights, or, of what a transform reads, into the memory in which weights are made.
    """

    at: int
    coded: int
    offset: int
    bytes: int
    check: int


def entries(
    streams: Sequence[bytes], arrays: Sequence[Array], offsets: Sequence[int], begin: int = 0
) -> list[Entry]:
    """The rows of streams that lie one behind the other from `begin` on; empty streams have none."""
    rows, at = [], begin
    for stream, array, offset in zip(streams, arrays, offsets, strict=True):
        if stream:
            check = zlib.adler32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
            rows.append(Entry(at, len(stream), offset, array.nbytes, check))
        at += len(stream)
    return rows


def summary(streams: Sequence[bytes], arrays: Sequence[Array]) -> Mapping[str, Mapping[str, int]]:
    """By codec: how many arrays, their bytes, and what they take."""
    found: dict[str, dict[str, int]] = {}
    for stream, array in zip(streams, arrays, strict=True):
        if not stream:
            continue
        row = found.setdefault(codec_of(stream), {"arrays": 0, "bytes": 0, "coded_bytes": 0})
        row["arrays"] += 1
        row["bytes"] += array.nbytes
        row["coded_bytes"] += len(stream)
    return found
