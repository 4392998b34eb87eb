"""The first and the last of three kernels on floats: a thread has a few channels, or filters, of a tile.

The steps are those of processors, in the order of `multiply`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ....kernel import Kernel
from ....primitives.conv.ending import FloatFinish
from ....primitives.conv.winograd.matrix import Row, multiply
from ....primitives.conv.winograd.places import has
from ....tir import Registers, T, load, prim_func, splat, store, when
from ....vector.shuffles import hold
from ..block import thread
from .layer import FloatLayer
from .pairs import held
from .slots import Slots

Expr = Any
Buffer = Any
Read = Callable[[int, int], Expr]  # row and column of a tile -> a vector
Put = Callable[[int, int, Expr], None]

THREADS = 128


def input_kernel(layer: FloatLayer) -> Kernel:
    """Data to V."""
    return _kernel("winograd_float_input", layer, _build_input, _inputs(layer))


def output_kernel(layer: FloatLayer) -> Kernel:
    """(operands of the epilogue, products, bias where there is one) to the result."""
    return _kernel("winograd_float_output", layer, _build_output, _results(layer))


def _kernel(name: str, layer: FloatLayer, build: Callable[[FloatLayer], Any], count: int) -> Kernel:
    return Kernel(name, layer, partial(build, layer), -(-count // THREADS), threads=THREADS)


def _inputs(layer: FloatLayer) -> int:
    """Vectors of channels of all tiles."""
    return layer.channels // layer.lanes * layer.tiles


def _results(layer: FloatLayer) -> int:
    return layer.stored // layer.lanes * layer.tiles


def _build_input(layer: FloatLayer) -> Any:
    def body(data: Buffer, output: Buffer, _: Any, block: Expr, __: Any) -> None:
        number, lanes = held(block * THREADS + thread()), layer.lanes
        parts = layer.block // lanes
        part, pixel = T.truncmod(number, parts), T.truncdiv(number, parts)

        def put(i: int, j: int, value: Expr) -> None:
            position = i * layer.extent[1] + j
            with when(slots.need(position)):
                place = (position * layer.blocks + channels) * layer.tiles + slots.at(position)
                store(output, place * layer.block + first, value, lanes)

        with when(number < _inputs(layer)):
            channels, tile = held(T.truncdiv(pixel, layer.tiles)), held(T.truncmod(pixel, layer.tiles))
            first, slots = held(part * lanes), Slots(layer, tile)
            _transform(layer, layer.matrices.b_t, _reader(layer, data, (tile, channels, first)), put)

    return prim_func([("data", layer.dtype), ("output", layer.dtype)], body)


def _reader(layer: FloatLayer, data: Buffer, place: tuple[Expr, Expr, Expr]) -> Read:
    """Of a tile and a block's channels from a first one on; zeros outside the image."""
    conv, lanes, (tile, block, first) = layer.spec, layer.lanes, place
    image, row, column = layer.place(tile)
    top, left = held(row - conv.pads[0]), held(column - conv.pads[1])
    plane = held((image * layer.blocks + block) * conv.height)

    def read(i: int, j: int) -> Expr:
        down, along = top + i, left + j
        if layer.covered:
            return load(data, ((plane + down) * conv.width + along) * layer.block + first, lanes)
        near = T.max(0, T.min(conv.height - 1, down)), T.max(0, T.min(conv.width - 1, along))
        value = load(data, ((plane + near[0]) * conv.width + near[1]) * layer.block + first, lanes)
        inside = T.And(T.And(down >= 0, down < conv.height), T.And(along >= 0, along < conv.width))
        return T.Select(inside, value, splat(0.0, lanes, layer.dtype))

    return read


def _transform(layer: FloatLayer, rows: tuple[Row, ...], read: Read, put: Put) -> None:
    """M d M^T of a matrix M of `rows`: down every column, then along every row."""
    high, broad = layer.extent
    half = Registers(len(rows) * broad, layer.lanes, layer.dtype)
    for j in range(broad):
        column = [hold(read(i, j), layer.lanes, layer.dtype) for i in range(high)]
        for i, value in enumerate(multiply(rows, column, layer.lanes, layer.dtype)):
            half[i * broad + j] = value
    for i in range(len(rows)):
        row = [half[i * broad + j] for j in range(broad)]
        for j, value in enumerate(multiply(rows, row, layer.lanes, layer.dtype)):
            put(i, j, value)


def _build_output(layer: FloatLayer) -> Any:
    conv = layer.spec
    names = [
        *(f"extra{i}" for i in range(len(conv.extras))),
        "products",
        *(["bias"] if conv.bias else []),
        "output",
    ]

    def body(*given: Any) -> None:
        *buffers, _, block, __ = given
        products = buffers.pop(len(conv.extras))
        number = held(block * THREADS + thread())
        with when(number < _results(layer)):
            _finish(layer, products, FloatFinish(conv, layer.lanes, tuple(buffers)), number)

    return prim_func([(name, layer.dtype) for name in names], body)


def _finish(layer: FloatLayer, products: Buffer, ending: FloatFinish, number: Expr) -> None:
    """A^T F A, bias, epilogue."""
    conv, lanes, vectors = layer.spec, layer.lanes, layer.stored // layer.lanes
    tile, channel = held(T.truncdiv(number, vectors)), held(T.truncmod(number, vectors) * lanes)
    (image, top, left), slots = map(held, layer.place(tile)), Slots(layer, tile)
    rows, columns = has(layer, top, left)
    bias = hold(ending.start(channel, (0, 0), ()), lanes, layer.dtype)

    def read(i: int, j: int) -> Expr:
        position = i * layer.extent[1] + j
        row = position * layer.tiles + slots.at(position)
        return load(products, row * layer.filters + channel, lanes)

    def put(i: int, j: int, value: Expr) -> None:
        total = hold(hold(value, lanes, layer.dtype) + bias, lanes, layer.dtype)
        with when(rows[i]), when(columns[j]):
            ending.store(total, image, (top + i) * conv.out_width + left + j, channel)

    _transform(layer, layer.matrices.a_t, read, put)
