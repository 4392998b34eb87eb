"""What decoding a stream takes on the machine that loads it: memory and time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..runtime_files import header_constant
from ..targets.target import Cpu, Target
from .registry import BY_NUMBER, CODECS, named
from .streams import SPLIT, Array


def parts(stream: bytes, bytes: int) -> Iterator[tuple[str, int]]:
    """The codecs of a sound stream of an array of so many bytes, with the bytes that each gives."""
    if stream[0] != SPLIT:
        yield BY_NUMBER[stream[0]], bytes
        return
    width, at = stream[1], 2
    for _ in range(width):
        yield BY_NUMBER[stream[at + 4]], bytes // width
        at += 4 + int.from_bytes(stream[at : at + 4], "little")


def room_of(codecs: Iterable[str]) -> int:
    """Bytes in which the decoders of these codecs work, one after the other."""
    return max((header_constant("decode.h", f"RT_ROOM_{CODECS[name].room}") for name in codecs), default=0)


def room_of_streams(streams: Sequence[bytes]) -> int:
    """Bytes in which the streams can be decoded, one after the other; empty ones need none."""
    return room_of({name for stream in streams if stream for name, _ in parts(stream, 0)})


def most_room(codec: str) -> int:
    """Bytes in which anything can be decoded that the codec, or those that a name stands for, may write."""
    return room_of((*named(codec), "raw"))


# Time -----------------------------------------------------------------------------------------------


COUNTED = (576, 4032, 4608, 16128, 16704, 36864)
"""Bytes whose decoding was counted: two numbers each of one lane, of two to four, and of eight and more,
which vectors decode. Between two lies a line: tables, then a cost a byte."""


@dataclass(frozen=True)
class Pace:
    """What a decoded byte, or a number made of filters, takes, its share of the checksum included.

    `instructions` are those that AArch64 code executes for a byte of as many as `COUNTED` says: of the first
    1, 7, 8, 28, 29 and 64 filters of the largest layer of `examples/fashion`, by
    `tools/bench/arm/decoders.py --filters`, in 8 bits (of `dictionary` 5 bits; of `zero-run`, `patterns` and
    `shared-blocks` four fifths of them zero), or the most of several kinds (of `nibbles` dense 8, 5 and 4
    bits; of `bitmap` and `zeros` half and four fifths zero). `narrow` are those of ARMv7 (`--board rpi2`);
    `vectors` are cycles of a core with AVX2, from measured times. One number stands for all sizes.
    """

    instructions: tuple[float, ...]
    vectors: float
    narrow: tuple[float, ...]

    def cycles(self, cpu: Cpu, count: float) -> float:
        """Of a core for so many bytes: an instruction a cycle, but where vectors were measured."""
        if "avx2" in cpu.features:
            return count * self.vectors
        known = self.narrow if cpu.architecture == "armv7" else self.instructions
        if len(known) == 1 or not 0 < count < COUNTED[-1]:
            return count * known[-1]
        return float(np.interp(count, COUNTED, np.multiply(COUNTED, known)))


# fmt: off
PACES: Mapping[str, Pace] = {
    "raw": Pace((1.7, 1.0, 1.1, 1.0, 1.0, 1.0), 0.4, (2.3, 1.3, 1.4, 1.3, 1.3, 1.3)),
    "dictionary": Pace((10.7, 9.6, 9.6, 9.5, 9.5, 9.5), 3.0, (25.9, 24.3, 24.4, 24.2, 24.2, 24.2)),
    "bitmap": Pace((8.6, 8.0, 8.1, 8.0, 8.0, 8.1), 3.4, (13.6, 12.6, 12.8, 12.6, 12.7, 12.8)),
    "huffman": Pace((71.2, 21.8, 20.5, 14.4, 14.3, 12.9), 5, (93.8, 36.1, 34.8, 27.5, 27.4, 25.7)),
    "zero-run": Pace((60.5, 20.7, 19.9, 14.0, 13.9, 13.3), 8, (79.9, 35.0, 34.5, 27.5, 27.5, 27.4)),
    "patterns": Pace((140, 37.3, 35.5, 24.9, 24.8, 41.4), 25, (175, 59.9, 58.1, 46.2, 46.2, 75.8)),
    "shared-blocks": Pace((12.4, 11.8, 12.0, 11.9, 12.0, 12.4), 12, (22.0, 20.9, 21.3, 21.1, 21.2, 21.9)),
    "rans": Pace((45.7, 20.0, 19.0, 15.6, 11.4, 10.0), 2.3, (92.4, 27.7, 25.9, 19.9, 16.0, 12.8)),
    "planes": Pace((77.3, 34.7, 42.3, 29.3, 23.6, 17.9), 6.0, (170, 57.3, 68.3, 46.9, 41.3, 27.7)),
    "nibbles": Pace((40.1, 16.8, 16.2, 13.0, 12.6, 9.8), 1.2, (92.8, 27.8, 26.9, 22.0, 22.3, 19.2)),
    "zeros": Pace((177, 125, 30.0, 28.0, 27.9, 24.2), 8, (297, 167, 53.1, 46.6, 46.3, 37.9)),
    "mixed": Pace((6000,), 2400, (9500,)),
    "network-huffman": Pace((86.0, 22.3, 21.0, 14.4, 14.3, 12.9), 5, (112, 36.7, 35.2, 27.4, 27.4, 25.7)),
}
# fmt: on
TRANSFORMED = Pace((32,), 16, (32,))
"""Of a number that is made of filters, whatever bytes it has: most of it is the transform in float64. It was
not counted on ARMv7."""
_TYPICAL = ("mixed", "planes", "nibbles")
"""Of a name that stands for several, most tensors of 8 bits get the first of these that is among them."""


def pace_seconds(pace: Pace, count: float, target: Target) -> float:
    """Seconds of one core of the target's processor for so many bytes, or numbers."""
    return pace.cycles(target.host, count) / (target.rates.clock_ghz * 1e9)


def typical_seconds(codec: str, bytes: float, target: Target) -> float:
    """An estimate before anything is encoded, by what most tensors of 8 bits get."""
    names = named(codec)
    typical = next((name for name in _TYPICAL if name in names), names[0])
    return pace_seconds(PACES[typical], bytes, target)


def streams_seconds(streams: Sequence[bytes], arrays: Sequence[Array], target: Target) -> float:
    """Of one core that decodes the streams of arrays; empty ones take nothing."""
    return sum(
        pace_seconds(PACES[name], count, target)
        for stream, array in zip(streams, arrays, strict=True)
        if stream
        for name, count in parts(stream, array.nbytes)
    )
