"""What the streams of a network have in common: the table of `network-huffman`.

A program has it once, behind its streams; decoders and encoders are given it (`Codec.given`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .huffman import words_bytes
from .prefix import Lengths, code_lengths, write_lengths
from .registry import SHARED, named
from .storing import check_codec
from .streams import Array, Codecs, planes_of, sizes


@dataclass(frozen=True, eq=False)
class _Plane:
    """How often each byte occurs, and what all of them take otherwise."""

    counts: NDArray[np.integer]
    otherwise: int

    def gains(self, lengths: Lengths) -> int:
        """Bytes that words of these lengths save; each byte has one."""
        return self.otherwise - words_bytes(self.counts, lengths)


def network_table(constants: Iterable[tuple[Array, Codecs]]) -> bytes:
    """The table by which constants take the least, about, that may be stored by `network-huffman`.

    It is made of those bytes of elements that it makes shorter than what else they may be stored by. Empty
    where none are, or where it takes more than it saves. SecateurError for a name of no codec.
    """
    planes = list(_planes(constants))
    while planes:
        lengths = code_lengths(np.sum([plane.counts for plane in planes], axis=0))
        kept = [plane for plane in planes if plane.gains(lengths) > 0]
        if len(kept) == len(planes):
            table = write_lengths(lengths)
            return table if sum(plane.gains(lengths) for plane in planes) > len(table) else b""
        planes = kept
    return b""


def _planes(constants: Iterable[tuple[Array, Codecs]]) -> Iterator[_Plane]:
    """Those that may be stored so, and of which a code of their own would make less."""
    for array, codec in constants:
        if not codec or not isinstance(codec, str):
            continue
        check_codec(codec)
        names = named(codec)
        if not any(name in SHARED for name in names):
            continue
        known = sizes(array, [name for name in names if name not in SHARED])
        for data, otherwise in zip(planes_of(array), known, strict=True):
            plane = _Plane(np.bincount(data, minlength=256), min(otherwise.values()))
            if plane.gains(code_lengths(plane.counts)) > 0:
                yield plane
