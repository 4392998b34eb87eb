"""Which kernel a schedule of implicit GEMM has."""

from __future__ import annotations

from typing import Any

from ...primitives.conv.ending import kernel_pointers
from ...primitives.conv.int8_spec import LinearSpec
from ...tir import prim_func
from .implicit_gemm_kernel import Gemm, GemmSpec
from .matrix_gemm import MatrixGemm
from .matrix_tile import MatrixTile


def build(spec: GemmSpec) -> Any:
    pointers = kernel_pointers(spec.conv)
    if isinstance(spec.conv, LinearSpec):
        pointers.insert(pointers.index(("weights", "int8")) + 1, ("padding", "uint8"))
    kind = MatrixGemm if isinstance(spec.tile, MatrixTile) else Gemm
    return prim_func(pointers, lambda *buffers: kind(spec, buffers).emit())
