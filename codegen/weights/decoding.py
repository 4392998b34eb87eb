"""What decoding a stream takes on the machine that loads it: memory and time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..runtime_files import header_constant
from ..targets.target import Cpu, Target
from .registry import BEST, CODECS, JOINT, named
from .streams import SPLIT, Array


def codec_numbered(number: int) -> str:
    """The name of the codec with that number in streams."""
    return next(name for name, row in CODECS.items() if row.number == number)


def parts(stream: bytes, bytes: int) -> Iterator[tuple[str, int]]:
    """The codecs of a sound stream of an array of so many bytes, with the bytes that each gives."""
    if stream[0] != SPLIT:
        yield codec_numbered(stream[0]), bytes
        return
    width, at = stream[1], 2
    for _ in range(width):
        yield codec_numbered(stream[at + 4]), bytes // width
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


@dataclass(frozen=True)
class Pace:
    """What a decoded byte, or a number made of filters, takes, its share of the checksum included.

    `instructions` are those that AArch64 code executes, counted by `tools/bench/arm/decoders.py` on 36,864
    weights of 8 bits (of `dictionary` 5 bits; of `bitmap`, `zero-run`, `shared-blocks` and `zeros` four
    fifths of them zero), `narrow` those of ARMv7 (`--board rpi2`); `vectors` are cycles of a core with AVX2,
    from measured times.
    """

    instructions: float
    vectors: float
    narrow: float

    def cycles(self, cpu: Cpu) -> float:
        """Of a core of this kind: an instruction a cycle, but where vectors were measured."""
        if "avx2" in cpu.features:
            return self.vectors
        return self.narrow if cpu.architecture == "armv7" else self.instructions


PACES: Mapping[str, Pace] = {
    "raw": Pace(1.0, 0.4, 1.3),
    "dictionary": Pace(9.5, 3.0, 24.2),
    "bitmap": Pace(5.7, 3.4, 10.4),
    "huffman": Pace(12.9, 5, 25.8),
    "zero-run": Pace(13.3, 8, 27.4),
    "patterns": Pace(41, 25, 76),
    "shared-blocks": Pace(12.4, 12, 21.9),
    "rans": Pace(10.0, 2.3, 12.8),
    "planes": Pace(18, 6.0, 28.1),
    "mixed": Pace(5200, 2100, 8500),
    "nibbles": Pace(6.9, 1.2, 9.1),
    "zeros": Pace(23, 8, 36),
}
TRANSFORMED = Pace(32, 16, 32)
"""Of a number that is made of filters, whatever bytes it has: most of it is the transform in float64. It was
not counted on ARMv7."""
_TYPICAL = ("mixed", "planes", "nibbles")
"""Of a name that stands for several, most tensors of 8 bits get the first of these that is among them."""


def pace_seconds(pace: Pace, count: float, target: Target) -> float:
    """Seconds of one core of the target's processor for so many bytes, or numbers: an instruction a cycle."""
    return count * pace.cycles(target.host) / (target.rates.clock_ghz * 1e9)


def name_on(name: str, target: Target) -> str:
    """The codecs by which files for a target are coded, by the name that was asked for.

    Of those of `best`, one that a core of the target's processor decodes more slowly than its card gives the
    plain bytes is left out. The processors beside GPUs read no cards.
    """
    if name != BEST or not isinstance(target.machine, Cpu):
        return name
    card = target.rates.card_gbps * 1e9
    kept = [own for own in named(name) if pace_seconds(PACES[own], card, target) <= 1]
    return name if len(kept) == len(named(name)) else JOINT.join(kept)


def typical_seconds(codec: str, bytes: float, target: Target) -> float:
    """An estimate before anything is encoded, by what most tensors of 8 bits get."""
    names = named(name_on(codec, target))
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
