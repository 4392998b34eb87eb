"""Constants that the runtime makes of the model's filters, as a program has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from secateur.ir.support.progress import Progress, silent

from ..alignment import aligned
from .known import stream_of
from .origin import Origin
from .streams import Array, Codecs


@dataclass(frozen=True, eq=False)
class Made:
    """Constants at `offsets` of the weights that come from `origin`, which `codec` stores.

    Of bytes, factors lie at `factors`.
    """

    origin: Origin
    codec: str
    offsets: tuple[int, ...]
    factors: int


@dataclass(frozen=True, eq=False)
class Transform:
    """Constants to be made, and the streams of what they are made of."""

    made: Made
    streams: tuple[bytes, ...]

    @property
    def places(self) -> tuple[int, ...]:
        """Where what is decoded lies, and the rest begins, in the memory in which constants are made."""
        ends = [0]
        for array in self.made.origin.sources:
            ends.append(ends[-1] + aligned(array.nbytes))
        return tuple(ends)

    @property
    def work_bytes(self) -> int:
        """Bytes of that memory: of bytes, two floats for each tap and channel, and each channel's place."""
        origin = self.made.origin
        floats = (2 * origin.taps + 1) * origin.filters.shape[1] if origin.bytes is not None else 0
        return self.places[-1] + 4 * floats

    @property
    def coded(self) -> int:
        return sum(map(len, self.streams))


def transformed(
    rows: Sequence[Made], codecs: Sequence[Codecs], progress: Progress = silent, table: bytes = b""
) -> tuple[Transform, ...]:
    """The transforms of constants, with what they read coded: by one codec for each source of each row."""
    found, own = [], iter(codecs)
    for number, made in enumerate(rows):
        progress("filters", number, len(rows))
        streams = tuple(stream_of(array, next(own), table) for array in made.origin.sources)
        found.append(Transform(made, streams))
    return tuple(found)


def work_bytes(transforms: Sequence[Transform]) -> int:
    """Bytes beside the decoder's that making constants takes."""
    return max((transform.work_bytes for transform in transforms), default=0)


def summary(transforms: Sequence[Transform], arrays: Mapping[int, Array]) -> Mapping[str, int]:
    """How many constants are made of filters, their bytes, those of what they are made of, and coded."""
    made = [arrays[at] for transform in transforms for at in transform.made.offsets]
    return {
        "arrays": len(made),
        "bytes": sum(array.nbytes for array in made),
        "model_bytes": sum(a.nbytes for t in transforms for a in t.made.origin.sources),
        "coded_bytes": sum(transform.coded for transform in transforms),
    }
