"""Which kernel a schedule of `winograd_fused` has, and how it reads weights."""

from __future__ import annotations

from functools import partial
from typing import Any

from ....kernel import Kernel
from ....tir import prim_func
from . import fused_kernel, fused_matrix
from .fused_kernel import Array, Fused, FusedSpec
from .fused_matrix import MatrixFused, WmmaFused
from .fused_matrix_tile import MatrixFusedTile, WmmaFusedTile
from .fused_tile import FusedTile
from .layer import Layer
from .output import ending_pointers, residual_pointers

_KINDS: dict[type[FusedTile], type[Fused]] = {
    FusedTile: Fused,
    MatrixFusedTile: MatrixFused,
    WmmaFusedTile: WmmaFused,
}


def kernel_of(layer: Layer, tile: FusedTile) -> Kernel:
    """(data, residual where there is one, weights, factors, scales, bias, parameters) to the result."""
    spec = FusedSpec(layer, tile)
    return Kernel(
        "winograd_fused",
        spec,
        partial(_build, spec),
        tile.blocks(layer),
        tile.shared_bytes,
        threads=tile.threads,
    )


def pack(layer: Layer, tile: FusedTile, weights: Array) -> Array:
    """(position, filter, channel) as the kernel reads them."""
    if isinstance(tile, MatrixFusedTile):
        return fused_matrix.pack(layer, tile, weights)
    return fused_kernel.pack(layer, tile, weights)


def _build(spec: FusedSpec) -> Any:
    constants = [("weights", "int8"), ("factors", "int32"), ("scales", "float32")]
    ending = [*ending_pointers(spec.layer)]
    pointers = [("data", "uint8"), *residual_pointers(spec.layer), *constants, *ending]
    return prim_func(pointers, lambda *buffers: _KINDS[type(spec.tile)](spec, buffers).emit())
