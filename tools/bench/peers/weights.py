"""Codecs of weights by others, where their packages are installed: Vela's, and NNC (ISO/IEC 15938-17)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.int8]
_UNARY = 11
"""Bits of a size that NNC tells apart before it counts in exponents: its default."""


def vela_bytes(layers: Sequence[Bytes]) -> int | None:
    """Of all layers, each by itself, channels innermost as Ethos-U wants them."""
    encode = _vela()
    return None if encode is None else sum(len(encode(innermost(values))) for values in layers)


def _vela() -> Callable[[list[int]], bytes] | None:
    try:
        from ethosu import mlw_codec  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        return None
    found: Callable[[list[int]], bytes] = mlw_codec.encode
    return found


def innermost(values: Bytes) -> list[int]:
    """Channels last."""
    moved: Any = values.transpose(0, *range(2, values.ndim), 1) if values.ndim > 2 else values
    found: list[int] = moved.reshape(-1).tolist()
    return found


def nnc_bytes(layers: Sequence[Bytes]) -> int | None:
    """Of all layers, each by itself, by DeepCABAC without dependent quantization; heads are not counted."""
    nnc = nnc_coder()
    return None if nnc is None else sum(len(nnc_encode(nnc, values)) for values in layers)


def nnc_coder() -> Any | None:
    """NNC's arithmetic coder, a module in C++, where it is installed."""
    try:
        from nncodec.extensions import deepCABAC  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        return None
    return deepCABAC


def nnc_encode(nnc: Any, values: Bytes, rows: tuple[int, ...] = (0, 1)) -> bytes:
    """The least by its options: rows of zeros told or not, parameters searched or not."""
    return min((_nnc(nnc, values, search, row) for row in rows for search in (0, 1)), key=len)


def nnc_decode(nnc: Any, stream: bytes, shape: tuple[int, ...]) -> tuple[NDArray[np.int32], float]:
    """The values of a stream in which no rows of zeros are told, and the seconds of processor time."""
    found, given = np.zeros(shape, np.int32), np.frombuffer(stream, np.uint8).copy()
    begin = time.process_time()
    decoder = nnc.Decoder()
    decoder.setStream(given)
    decoder.initCtxModels(_UNARY)
    decoder.decodeLayer(found, 0, 0, 0, 0, *_no_offsets(nnc), 0, 0)
    return found, time.process_time() - begin


def _no_offsets(nnc: Any) -> tuple[Any, NDArray[np.int8]]:
    return nnc.HdspMode.AlwaysOff, np.zeros(2, np.int8)


def _nnc(nnc: Any, values: Bytes, search: int, rows: int) -> bytes:
    encoder = nnc.Encoder()
    encoder.initCtxModels(_UNARY, search)
    empty = np.array([not row.any() for row in values], np.int32)
    whole = np.ascontiguousarray(values.astype(np.int32))
    encoder.encodeLayer(whole, 0, 0, 1 if rows else 0, 0, rows, empty, *_no_offsets(nnc), 0, 0)
    return bytes(encoder.finish())
