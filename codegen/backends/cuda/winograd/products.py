"""The second of three kernels: a product of tiles and filters for each position; of bytes, in real steps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....kernel import Kernel
from ....targets.target import Target
from ....tir import T, load, prim_func, splat, store, view
from ....vector.shuffles import hold
from ..block import WORDS
from ..implicit_gemm_kernel import Gemm, GemmSpec
from ..matrix_gemm import MatrixGemm
from ..matrix_tile import MatrixTile
from ..panels import best, panels
from ..rates import matrix_rate, most_sums, word_rate
from ..tile import Tile, Work
from .layer import FloatLayer, Layer

Array = NDArray[Any]
Expr = Any


@dataclass(frozen=True)
class ProductsSpec(GemmSpec):
    """Each position is an image of one row of tiles, with weights of its own."""

    @property
    def pixel_tiles(self) -> int:
        """Of an image."""
        return -(-self.conv.pixels // self.tile.pixels)


def work(layer: Layer | FloatLayer, target: Target) -> Work:
    """Of all positions, with the tiles of each."""
    size = layer.element_bytes
    moved = layer.v_bytes + layer.product_bytes + size * layer.positions * layer.channels * layer.filters
    rate, most, matrix = word_rate(target, size), most_sums(target, size), matrix_rate(target, size)
    return Work(layer.tiles, layer.filters, layer.blocks, rate, float(moved), layer.positions, most, matrix)


def tile_of(layer: Layer | FloatLayer, target: Target) -> Tile | None:
    return best(work(layer, target), layer.blocks, target)


def products_kernel(layer: Layer | FloatLayer, tile: Tile, target: Target) -> Kernel:
    """(V, weights, scales of bytes) to products."""
    layouts = {"in_layout": layer.spec.in_layout, "out_layout": layer.spec.in_layout}
    sizes = (layer.positions, layer.channels, 1, layer.tiles, layer.filters)
    conv = type(layer.spec)(*sizes, (1, 1), **layouts)
    spec = ProductsSpec(conv, tile, layer.blocks, target.cuda.architecture.dot, signed=True)
    tasks = layer.positions * spec.pixel_tiles * spec.filter_tiles
    build = partial(_build, spec)
    return Kernel("winograd_products", spec, build, tasks, tile.shared_bytes, threads=tile.threads)


def pack(layer: Layer | FloatLayer, tile: Tile, weights: Array) -> Array:
    """(position, filter, channel) to [position][filter tile][block] of `panels`."""
    padded = np.zeros((layer.positions, layer.filters, layer.channels), weights.dtype)
    padded[:, : weights.shape[1], : weights.shape[2]] = weights
    return arranged(layer, tile, padded)


def arranged(layer: Layer | FloatLayer, tile: Tile, padded: Array) -> Array:
    """(positions, filters, channels) as `pack` orders them."""
    element = 4 // layer.element_bytes  # of a word
    split = padded.reshape(layer.positions, -1, tile.filters, layer.blocks, WORDS, element)
    return panels(tile, split.transpose(0, 1, 3, 2, 4, 5))


def _build(spec: ProductsSpec) -> Any:
    if spec.conv.element_bytes == 1:
        pointers = [("data", "int8"), ("weights", "int8"), ("scales", "float32"), ("output", "float32")]
    else:
        pointers = [(name, spec.conv.dtype) for name in ("data", "weights", "output")]
    kind = _MatrixProducts if isinstance(spec.tile, MatrixTile) else _Products
    return prim_func(pointers, lambda *buffers: kind(spec, buffers).emit())


class _Products(Gemm):
    """`first_pixel` is the first tile, of the position `image`."""

    def _open(self, buffers: list[Any]) -> None:
        data, weights, *self.scales, self.output = buffers
        self.data, self.weights = (view(b, self.spec.dtype) for b in (data, weights))
        self.padding = None

    def _number(self) -> tuple[Expr, Expr]:
        spec: Any = self.spec
        rows, filters = spec.pixel_tiles, spec.filter_tiles
        self.image = hold(T.truncdiv(self.block, rows * filters), 1, "int32")
        within = hold(T.truncmod(self.block, rows * filters), 1, "int32")
        first = hold(T.truncdiv(within, filters) * self.tile.pixels, 1, "int32")
        return hold(T.truncmod(within, filters), 1, "int32"), first

    def _end(self) -> int:
        return self.conv.pixels

    def _locate_pixel(self, pixel: Expr) -> tuple[Expr, Expr]:
        return self.image, pixel

    def _panels(self) -> Expr:
        return self.image * self.spec.filter_tiles + self.filter_tile

    def _first(self, j: int) -> Expr:
        return splat(0, WORDS, self.spec.dtype)

    def _exists(self, j: int) -> Any:
        return None

    def _finish(self, total: Expr, j: int, pixel: Expr) -> None:
        channel, filters = self._channel(j), self.conv.filters
        place = (self.image * self.conv.pixels + pixel) * filters + channel
        store(self.output, place, self._product_of(total, self.image * filters + channel), WORDS)

    def _product_of(self, total: Expr, at: Expr) -> Expr:
        """Four sums as they are stored; the scales of bytes lie at `at`."""
        if self.spec.pairs:
            return hold(self._summed(total).astype(f"float16x{WORDS}"), WORDS, "float16")
        if self.spec.dtype == "float32":
            return total
        return total.astype(f"float32x{WORDS}") * load(self.scales[0], at, WORDS)


class _MatrixProducts(_Products, MatrixGemm):
    """By matrix instructions."""
