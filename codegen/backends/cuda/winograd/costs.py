"""What the transforms of a Winograd convolution take by the model: memory or arithmetic, and the launch."""

from __future__ import annotations

from math import prod

from ....targets.target import Target
from .layer import Layer

_READ = 24.0  # instructions for each transformed byte: additions by twos, rounding one by one
_WRITTEN = 8.0  # and for each product
_NEAR = 0.5  # of the second-level cache holds what one kernel hands to the next


def input_seconds(layer: Layer, target: Target) -> float:
    return _seconds(_READ * layer.v_bytes, layer.v_bytes, _image_bytes(layer), target)


def output_seconds(layer: Layer, target: Target) -> float:
    conv = layer.spec
    written = conv.batch * conv.pixels * layer.stored * conv.result_bytes * (1 + bool(conv.ending.residual))
    return _seconds(_WRITTEN * layer.product_bytes / 4, layer.product_bytes, written, target)


def _image_bytes(layer: Layer) -> int:
    return prod((layer.spec.batch, layer.channels, layer.spec.height, layer.spec.width))


def _seconds(instructions: float, between: int, outside: int, target: Target) -> float:
    gpu = target.gpu
    busy = instructions / (gpu.fma * gpu.multiprocessors * gpu.clock_ghz * 1e9)
    near = gpu.l2_gbps if between <= _NEAR * gpu.l2_bytes else gpu.dram_gbps
    moved = between / (near * 1e9) + outside / (gpu.dram_gbps * 1e9)
    return max(busy, moved) + gpu.launch_seconds
