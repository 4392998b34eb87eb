"""The second of three kernels: a product of tiles and filters for each position; of bytes, in real steps."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....kernel import Kernel
from ....rounding import up
from ....targets.target import Target
from ....tir import T, load, prim_func, splat, store, view, when
from ....vector.shuffles import hold
from ..block import WORDS
from ..implicit_gemm_kernel import Gemm, GemmSpec, held
from ..matrix_gemm import MatrixGemm
from ..matrix_tile import MatrixTile, WmmaTile
from ..panels import best, panels
from ..rates import matrix_rate, most_sums, word_rate
from ..tile import Tile, Work
from ..wmma_gemm import WmmaGemm
from .layer import FloatLayer, Layer
from .slots import count

Array = NDArray[Any]
Expr = Any


@dataclass(frozen=True)
class ProductsSpec(GemmSpec):
    """Each position is an image of one row of tiles, with weights of its own.

    `counts` are the tiles that need it, of positions row by row, `across` of them in each.
    """

    counts: tuple[int, ...] = ()
    across: int = 1

    @property
    def pixel_tiles(self) -> int:
        """Of an image."""
        return -(-self.conv.pixels // self.tile.pixels)

    @property
    def corners(self) -> tuple[int, int, int, int]:
        """Tiles of a position, of one that is the last along an axis, along the other, along both."""
        return self.counts[0], self.counts[self.across - 1], self.counts[-self.across], self.counts[-1]

    def ragged(self, pixels: int) -> bool:
        """Whether some position's tiles are not so many times a number."""
        return any(count % pixels for count in self.corners)


def work(layer: Layer | FloatLayer, target: Target) -> Work:
    """Of all positions, with the tiles of each."""
    size = layer.element_bytes
    moved = layer.v_bytes + layer.product_bytes + size * layer.positions * layer.channels * layer.filters
    rate, most, matrix = word_rate(target, size), most_sums(target, size), matrix_rate(target, size)
    parts = tuple(Counter(counts(layer)).items())
    return Work(
        layer.tiles, layer.filters, layer.blocks, rate, float(moved), layer.positions, most, matrix, parts
    )


def counts(layer: Layer | FloatLayer) -> tuple[int, ...]:
    """Tiles that need each position."""
    return tuple(count(layer, position) for position in range(layer.positions))


def words_multiplied(layer: Layer | FloatLayer, tile: Tile) -> int:
    """By all threads together: those of tiles that fill up matrix instructions, too."""
    columns = tile.columns if isinstance(tile, MatrixTile) else 1
    pixels = sum(up(tiles, columns) for tiles in counts(layer))
    return pixels * up(layer.filters, tile.filters) * layer.blocks * WORDS


def tile_of(layer: Layer | FloatLayer, target: Target) -> Tile | None:
    return best(work(layer, target), layer.blocks, target)


def products_kernel(layer: Layer | FloatLayer, tile: Tile, target: Target) -> Kernel:
    """(V, weights, scales of bytes) to products."""
    sizes, layout = (layer.positions, layer.channels, 1, layer.tiles, layer.filters), layer.spec.in_layout
    conv = type(layer.spec)(*sizes, (1, 1), in_layout=layout, out_layout=layout)
    dot, tiles = target.cuda.architecture.dot, counts(layer)
    spec = ProductsSpec(conv, tile, layer.blocks, dot, True, tiles, layer.extent[1])
    tasks = layer.positions * spec.pixel_tiles * spec.filter_tiles
    build = partial(_build, spec)
    return Kernel("winograd_products", spec, build, tasks, tile.shared_bytes, threads=tile.threads)


def pack(layer: Layer | FloatLayer, tile: Tile, weights: Array) -> Array:
    """(position, filter, channel) to [position][filter tile][block] of `panels`."""
    padded = np.zeros(extents(layer, tile), weights.dtype)
    padded[:, : weights.shape[1], : weights.shape[2]] = weights
    return arranged(layer, tile, padded)


def extents(layer: Layer | FloatLayer, tile: Tile) -> tuple[int, int, int]:
    """Positions, filters in whole tiles, channels in whole blocks."""
    return layer.positions, up(layer.filters, tile.filters), layer.channels


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
    return prim_func(pointers, lambda *buffers: _KINDS[type(spec.tile)](spec, buffers).emit())


class _Products(Gemm):
    """`first_pixel` is the first tile, of the position `image`."""

    spec: ProductsSpec

    def _open(self, buffers: list[Any]) -> None:
        data, weights, *self.scales, self.output = buffers
        self.data, self.weights = (view(b, self.spec.dtype) for b in (data, weights))
        self.padding = None

    def _number(self) -> tuple[Expr, Expr]:
        rows, filters = self.spec.pixel_tiles, self.spec.filter_tiles
        self.image = hold(T.truncdiv(self.block, rows * filters), 1, "int32")
        within = hold(T.truncmod(self.block, rows * filters), 1, "int32")
        first = hold(T.truncdiv(within, filters) * self.tile.pixels, 1, "int32")
        return hold(T.truncmod(within, filters), 1, "int32"), first

    def emit(self) -> None:
        """Nothing where no tile of the block needs the position."""
        if not self.spec.ragged(self.spec.pixel_tiles * self.tile.pixels):
            super().emit()
            return
        with when(self.first_pixel < self._end()):
            super().emit()

    def _end(self) -> Any:
        """The tiles of the position."""
        every, last, lowest, corner = self.spec.corners
        if (last, lowest) == (every, every):
            return every
        across = self.spec.across
        along = T.truncmod(self.image, across) == across - 1
        down = self.image >= len(self.spec.counts) - across
        least = T.Select(down, T.int32(corner), T.int32(last))
        return held(T.Select(along, least, T.Select(down, T.int32(lowest), T.int32(every))))

    def _multiply(self, stage: Expr) -> None:
        """Where a thread's tiles are not all there, one after another."""
        tile, first = self.tile, self.first_pixel + self.row * self.tile.thread_pixels
        if not self.spec.ragged(tile.pixels):
            super()._multiply(stage)
            return
        with T.If(first + tile.thread_pixels <= self._end()):
            with T.Then():
                super()._multiply(stage)
            with T.Else():
                self._multiply_some(stage, first)

    def _multiply_some(self, stage: Expr, first: Expr) -> None:
        if self.spec.ragged(self.tile.thread_pixels):
            for i in range(self.tile.thread_pixels - 1):
                with when(first + i < self._end()):
                    self._multiply_pixels(stage, range(i, i + 1), 1)

    def _locate_pixel(self, pixel: Expr) -> tuple[Expr, Expr]:
        return self.image, pixel

    def _panels(self) -> Expr:
        return self.image * self.spec.filter_tiles + self.filter_tile

    def _first(self, j: int) -> Expr:
        return splat(0, WORDS, self.spec.dtype)

    def _stored(self) -> int:
        return self.conv.filters

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

    def _multiply(self, stage: Expr) -> None:
        super(_Products, self)._multiply(stage)

    def _ragged(self) -> bool:
        return self.spec.ragged(self.tile.pixels)


class _WmmaProducts(_MatrixProducts, WmmaGemm):
    """By those of Volta and Turing."""


_KINDS: dict[type[Tile], type[_Products]] = {
    Tile: _Products,
    MatrixTile: _MatrixProducts,
    WmmaTile: _WmmaProducts,
}
