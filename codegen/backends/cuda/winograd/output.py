"""The last of three kernels: products to results. A thread has a few filters of a tile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ....kernel import Kernel
from ....primitives.conv.winograd.arithmetic import ByteEnding
from ....primitives.conv.winograd.places import has
from ....primitives.conv.winograd.steps import output_steps
from ....tir import Registers, T, load, prim_func, when
from ....vector.shuffles import hold
from ..block import WORDS, thread
from .layer import Layer, PlaceOf
from .pairs import held
from .slots import Slots

Expr = Any
THREADS = 128


def output_kernel(layer: Layer) -> Kernel:
    """(residual where there is one, products, bias, parameters) to the result."""
    blocks = -(-_count(layer) // THREADS)
    return Kernel("winograd_output", layer, partial(_build, layer), blocks, threads=THREADS)


def lanes_of(layer: Layer) -> int:
    """Filters of a thread: of large tiles few, which fill its registers."""
    return WORDS if layer.positions < 36 else WORDS // 2


def _vectors(layer: Layer) -> int:
    """Of filters that the result has place for."""
    return layer.stored // lanes_of(layer)


def _count(layer: Layer) -> int:
    return layer.tiles * _vectors(layer)


def ending_pointers(layer: Layer) -> list[str | tuple[str, str]]:
    return [("bias", "float32"), ("parameters", "float32"), ("output", layer.spec.ending.result)]


def residual_pointers(layer: Layer) -> list[str | tuple[str, str]]:
    return [("residual", "uint8")] if layer.spec.ending.residual else []


def _build(layer: Layer) -> Any:
    pointers = [*residual_pointers(layer), "products", *ending_pointers(layer)]

    def body(*given: Any) -> None:
        *buffers, _, block, __ = given
        products, *ending = buffers[-4:]
        residual = buffers[0] if layer.spec.ending.residual else None
        number = held(block * THREADS + thread())
        with when(number < _count(layer)):
            tile, channel = (
                held(T.truncdiv(number, _vectors(layer))),
                held(T.truncmod(number, _vectors(layer)) * lanes_of(layer)),
            )
            slots = Slots(layer, tile)

            def read(position: int) -> Expr:
                row = position * layer.tiles + slots.at(position)
                return load(products, row * layer.filters + channel, lanes_of(layer))

            OutputTransform(layer, residual, ending).emit(tile, channel, read)

    return prim_func(pointers, body)


class OutputTransform:
    """A^T F A, bias, residual, rounding."""

    def __init__(
        self, layer: Layer, residual: Any, ending: Sequence[Any], place_of: PlaceOf | None = None
    ) -> None:
        bias, parameters, output = ending
        self.layer, self.lanes, self.place_of = layer, lanes_of(layer), place_of or layer.place
        self.ending = ByteEnding(layer.spec, self.lanes, (residual, bias, None, parameters, output))

    def emit(self, tile: Expr, channel: Expr, read: Callable[[int], Expr]) -> None:
        """Of filters from `channel` on; `read` gives a position's products."""
        layer, conv = self.layer, self.layer.spec
        (high, broad), tall = layer.extent, layer.tile[0]
        half = Registers(tall * broad, self.lanes)
        for j in range(broad):
            column = [hold(read(i * broad + j), self.lanes) for i in range(high)]
            for i, value in enumerate(output_steps(column, self.lanes, True)):
                half[i * broad + j] = value
        bias = self.ending.start(channel, (0, 0), ())
        image, top, left = map(held, self.place_of(tile))
        rows, columns = has(layer, top, left)
        for i in range(tall):
            row = output_steps([half[i * broad + j] for j in range(broad)], self.lanes, True)
            for j, value in enumerate(row):
                total = hold(hold(value, self.lanes) + bias, self.lanes)
                with when(rows[i]), when(columns[j]):
                    pixel = (top + i) * conv.out_width + left + j
                    self.ending.store(total, image, pixel, channel)
