"""Which kernel a schedule of implicit GEMM has."""

from __future__ import annotations

from typing import Any

from ...primitives.conv.ending import kernel_pointers
from ...primitives.conv.int8_spec import LinearSpec
from ...tir import prim_func
from .implicit_gemm_kernel import Gemm, GemmSpec
from .matrix_gemm import MatrixGemm
from .matrix_tile import MatrixTile, WmmaTile
from .tile import Tile
from .wmma_gemm import WmmaGemm


def build(spec: GemmSpec) -> Any:
    pointers = kernel_pointers(spec.conv)
    if isinstance(spec.conv, LinearSpec):
        pointers.insert(pointers.index(("weights", "int8")) + 1, ("padding", "uint8"))
    return prim_func(pointers, lambda *buffers: _KINDS[type(spec.tile)](spec, buffers).emit())


_KINDS: dict[type[Tile], type[Gemm]] = {Tile: Gemm, MatrixTile: MatrixGemm, WmmaTile: WmmaGemm}
