"""The first of three kernels: transformed inputs of all tiles. A thread has a word of channels of a tile."""

from __future__ import annotations

from functools import partial
from typing import Any

from ....kernel import Kernel
from ....tir import T, prim_func, store, view, when
from ..block import WORDS, thread
from .layer import Layer
from .pairs import held
from .transform import InputTransform

THREADS = 128


def input_kernel(layer: Layer) -> Kernel:
    """(data, factors) to V."""
    blocks = -(-_count(layer) // THREADS)
    return Kernel("winograd_input", layer, partial(_build, layer), blocks, threads=THREADS)


def _count(layer: Layer) -> int:
    return layer.blocks * layer.tiles * WORDS


def _build(layer: Layer) -> Any:
    pointers = [("data", "uint8"), ("factors", "int32"), ("output", "int8")]

    def body(data: Any, factors: Any, output: Any, _: Any, block: Any, __: Any) -> None:
        number, words = held(block * THREADS + thread()), view(output, "int32")
        with when(number < _count(layer)):
            tile = held(T.truncmod(T.truncdiv(number, WORDS), layer.tiles))
            channels = held(T.truncdiv(number, WORDS * layer.tiles))
            transform = InputTransform(layer, view(data, "int32"), factors)
            transform.emit(
                tile,
                channels,
                held(T.truncmod(number, WORDS)),
                lambda position, word: store(words, position * _count(layer) + number, word, 1),
            )

    return prim_func(pointers, body)
