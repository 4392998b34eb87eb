"""The first of three kernels: transformed inputs of all tiles. A thread has a word of channels of a tile."""

from __future__ import annotations

from functools import partial
from typing import Any

from ....kernel import Kernel
from ....tir import T, load, prim_func, store, view, when
from ..block import WORDS, Words, thread
from .layer import BLOCK, Layer
from .pairs import held, parts
from .slots import Slots
from .transform import InputTransform, joined

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

        def put(position: int, pairs: list[Any]) -> None:
            known = Words(WORDS, "int32")
            at = (position * layer.blocks + channels) * BLOCK + word * WORDS
            known.put(0, load(factors, at, WORDS))
            (zero, two), (one, three) = (parts(held(pair)) for pair in pairs)
            value = joined((zero, one, two, three), known)
            with when(slots.need(position)):
                place = (position * layer.blocks + channels) * layer.tiles + slots.at(position)
                store(words, place * WORDS + word, value, 1)

        with when(number < _count(layer)):
            tile = held(T.truncmod(T.truncdiv(number, WORDS), layer.tiles))
            channels = held(T.truncdiv(number, WORDS * layer.tiles))
            word, slots = held(T.truncmod(number, WORDS)), Slots(layer, tile)
            InputTransform(layer, view(data, "int32")).emit((tile, channels, word), (0, 8), put)

    return prim_func(pointers, body)
