"""The kernel of `grouped_gemm`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...primitives.conv.ending import kernel_pointers
from ...primitives.conv.int8_spec import LinearSpec
from ...tir import T, prim_func
from .implicit_gemm_kernel import Gemm, GemmSpec, held
from .matrix_gemm import MatrixGemm
from .matrix_tile import MatrixTile, WmmaTile
from .tile import Tile
from .wmma_gemm import WmmaGemm

Expr = Any


@dataclass(frozen=True)
class GroupedSpec(GemmSpec):
    """A tile of filters reads `window` of the blocks."""

    window: int = 0

    @property
    def steps(self) -> int:
        return self.window // self.tile.blocks * self.conv.kernel[0] * self.conv.kernel[1]


def build(spec: GroupedSpec) -> Any:
    pointers = kernel_pointers(spec.conv)
    if isinstance(spec.conv, LinearSpec):
        pointers.insert(pointers.index(("weights", "int8")) + 1, ("padding", "uint8"))
    return prim_func(pointers, lambda *buffers: _KINDS[type(spec.tile)](spec, buffers).emit())


class _Grouped(Gemm):
    """Pixels lie as for all groups, and the first block is that of the tile's first filter."""

    spec: GroupedSpec

    def _locate(self) -> None:
        super()._locate()
        apart = held(self._first_block() * (self.conv.height * self.conv.width))
        for i in range(len(self.pixel_units)):
            self.places[i] = self.places[i] + apart

    def _first_block(self) -> Expr:
        """Moved back where the window would pass the last block."""
        conv, block = self.conv, 16 // self.conv.element_bytes
        reads, writes = conv.channels // conv.groups, conv.filters // conv.groups
        group = T.truncdiv(self.filter_tile * self.tile.filters, writes)
        return T.min(T.truncdiv(group * reads, block), self.spec.blocks - self.spec.window)


class _GroupedMatrix(_Grouped, MatrixGemm):
    """By matrix instructions."""


class _GroupedWmma(_Grouped, WmmaGemm):
    """By those of Volta and Turing."""


_KINDS: dict[type[Tile], type[_Grouped]] = {
    Tile: _Grouped, MatrixTile: _GroupedMatrix, WmmaTile: _GroupedWmma,
}  # fmt: skip
