"""The kernel of `few_channels`: a step's 16 bytes of a pixel are four pixels side by side, a word each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...primitives.conv.ending import kernel_pointers
from ...tir import T, prim_func
from .block import WORDS
from .implicit_gemm_kernel import Gemm, GemmSpec, held
from .matrix_gemm import MatrixGemm
from .matrix_tile import MatrixTile, WmmaTile
from .tile import Tile
from .wmma_gemm import WmmaGemm

Expr = Any


@dataclass(frozen=True)
class FewSpec(GemmSpec):
    """`blocks` is 1: all channels are a word."""

    @property
    def groups(self) -> int:
        """Steps of a row of the kernel."""
        return -(-self.conv.kernel[1] // WORDS)

    @property
    def steps(self) -> int:
        return self.conv.kernel[0] * self.groups


def build(spec: FewSpec) -> Any:
    pointers = kernel_pointers(spec.conv)
    pointers.insert(pointers.index(("weights", "int8")) + 1, ("padding", "uint8"))
    return prim_func(pointers, lambda *buffers: _KINDS[type(spec.tile)](spec, buffers).emit())


class _Few(Gemm):
    """A tap past the kernel's last has weights of zero, whatever is there."""

    spec: FewSpec

    def _move_to(self, step: Expr) -> Expr:
        conv, groups, number = self.conv, self.spec.groups, step + T.int32(0)
        self.down = held(T.truncdiv(number, groups) * conv.dilations[0])
        self.along = held(T.truncmod(number, groups) * (WORDS * conv.dilations[1]))
        return held(self.down * conv.width + self.along)

    def _fetch_pixel(self, i: int, offset: Expr) -> None:
        conv = self.conv
        row, column = held(self.rows[i] + self.down), held(self.columns[i] + self.along)
        place, above = held(self.places[i] + offset), T.And(row >= 0, row < conv.height)
        for word in range(WORDS):
            apart = word * conv.dilations[1]
            inside = T.And(above, T.And(column + apart >= 0, column + apart < conv.width))
            value = self.data[T.Select(inside, place + apart, T.int32(0))]
            self.fetched[WORDS * i + word] = T.Select(inside, value, self.padding[0])


class _FewMatrix(_Few, MatrixGemm):
    """By matrix instructions."""


class _FewWmma(_Few, WmmaGemm):
    """By those of Volta and Turing."""


_KINDS: dict[type[Tile], type[_Few]] = {Tile: _Few, MatrixTile: _FewMatrix, WmmaTile: _FewWmma}
