"""Matrix products whose sums are of several blocks of threads: partial sums to memory, then their sum.

Sums of bytes are exact in any order. Those of floats are added in the order of their parts, so that the same
image gives the same bits.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ...kernel import Kernel
from ...primitives.conv.ending import FloatFinish, LinearFinish, kernel_pointers
from ...primitives.conv.int8_spec import LinearSpec
from ...primitives.specs import layout_block
from ...rounding import up
from ...tir import T, load, prim_func, splat, store, view, when
from ...vector.shuffles import hold
from .block import WORDS, thread
from .implicit_gemm_kernel import Gemm, GemmSpec, held
from .matrix_gemm import MatrixGemm
from .matrix_tile import MatrixTile, WmmaTile
from .tile import Tile
from .wmma_gemm import WmmaGemm

Expr = Any
THREADS = 128


def stored(spec: GemmSpec) -> int:
    """Filters that the result has place for."""
    return up(spec.conv.filters, layout_block(spec.conv.out_layout))


def sum_type(spec: GemmSpec) -> str:
    """Of partial sums."""
    return "int32" if spec.conv.element_bytes == 1 else "float32"


def parts_kernel(name: str, spec: GemmSpec, tasks: int) -> Kernel:
    """(data, weights, padding of bytes) to partial sums, as (part, pixel of all images, filter)."""
    build, tile = partial(_build_parts, spec), spec.tile
    return Kernel(f"{name}_parts", spec, build, tasks, tile.shared_bytes, threads=tile.threads)


def _build_parts(spec: GemmSpec) -> Any:
    given = kernel_pointers(spec.conv)
    weights = next(pointer for pointer in given if pointer[0] == "weights")
    padding = [("padding", "uint8")] if spec.conv.element_bytes == 1 else []
    pointers = [given[0], weights, *padding, ("output", sum_type(spec))]
    return prim_func(pointers, lambda *buffers: _KINDS[type(spec.tile)](spec, buffers).emit())


class _Parts(Gemm):
    """One block of threads, with a part of the sums."""

    def _open(self, buffers: list[Any]) -> None:
        data, weights, *padding, self.output = buffers
        self.data, self.weights = (view(b, self.spec.dtype) for b in (data, weights))
        self.padding = view(padding[0], self.spec.dtype) if padding else None

    def _number(self) -> tuple[Expr, Expr]:
        across = self.spec.filter_tiles
        down = -(-self._end() // self.tile.pixels)
        self.part = held(T.truncdiv(self.block, across * down))
        within = held(T.truncmod(self.block, across * down))
        return held(T.truncmod(within, across)), held(T.truncdiv(within, across) * self.tile.pixels)

    def _steps(self) -> tuple[Expr, Expr]:
        most = -(-self.spec.steps // self.tile.splits)
        if (self.tile.splits - 1) * most >= self.spec.steps:
            raise ValueError(f"{self.tile}: a part of {self.spec.steps} steps is empty")
        first = held(self.part * most)
        return first, held(T.min(most, self.spec.steps - first))

    def _first(self, j: int) -> Expr:
        return splat(0, WORDS, self.spec.dtype)

    def _finish(self, total: Expr, j: int, pixel: Expr) -> None:
        place = (self.part * self._end() + pixel) * stored(self.spec) + self._channel(j)
        store(self.output, place, self._summed(total) if self.spec.pairs else total, WORDS)


class _MatrixParts(_Parts, MatrixGemm):
    """By matrix instructions."""


class _WmmaParts(_MatrixParts, WmmaGemm):
    """By those of Volta and Turing."""


_KINDS: dict[type[Tile], type[_Parts]] = {Tile: _Parts, MatrixTile: _MatrixParts, WmmaTile: _WmmaParts}


def sum_kernel(name: str, spec: GemmSpec) -> Kernel:
    """(operands of the epilogue, partial sums, constants of the ending) to the result."""
    blocks = -(-_quads(spec) // THREADS)
    return Kernel(f"{name}_sum", spec, partial(_build_sum, spec), blocks, threads=THREADS)


def _quads(spec: GemmSpec) -> int:
    return spec.conv.batch * spec.conv.pixels * stored(spec) // WORDS


def _build_sum(spec: GemmSpec) -> Any:
    _, *rest = kernel_pointers(spec.conv)
    pointers = [("parts", sum_type(spec)) if name[0] == "weights" else name for name in rest]
    return prim_func(pointers, lambda *buffers: _Sum(spec, buffers).emit())


class _Sum:
    """Four filters of a pixel are a thread's."""

    def __init__(self, spec: GemmSpec, buffers: tuple[Any, ...]) -> None:
        *given, _, self.block, _ = buffers
        self.spec, self.conv = spec, spec.conv
        at = bool(spec.conv.ending.residual) if isinstance(spec.conv, LinearSpec) else len(spec.conv.extras)
        self.parts = given.pop(at)
        kind = LinearFinish if isinstance(spec.conv, LinearSpec) else FloatFinish
        self.finish: Any = kind(spec.conv, WORDS, tuple(given))  # type: ignore[arg-type]

    def emit(self) -> None:
        number, width = held(self.block * THREADS + thread()), stored(self.spec)
        with when(number < _quads(self.spec)):
            pixel = held(T.truncdiv(number, width // WORDS))
            channel = held(T.truncmod(number, width // WORDS) * WORDS)
            total = self._total(pixel * width + channel, channel)
            image, within = T.truncdiv(pixel, self.conv.pixels), T.truncmod(pixel, self.conv.pixels)
            self.finish.store(total, image, within, channel)

    def _total(self, place: Expr, channel: Expr) -> Expr:
        dtype, apart = sum_type(self.spec), self.conv.batch * self.conv.pixels * stored(self.spec)
        start = self.finish.start(channel, (0, 0), ())
        total = start.astype(f"float32x{WORDS}") if self.spec.pairs else start
        for part in range(self.spec.tile.splits):
            total = hold(total + load(self.parts, place + part * apart, WORDS), WORDS, dtype)
        return hold(total.astype(f"float16x{WORDS}"), WORDS, "float16") if self.spec.pairs else total
