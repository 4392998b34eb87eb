"""What the transforms of a Winograd convolution take by the model: memory or arithmetic, and the launch."""

from __future__ import annotations

from math import prod

from ....primitives.conv.int8_spec import LinearSpec
from ....primitives.specs import ConvSpec
from ....targets.target import Target
from .layer import FloatLayer, Layer

_READ = {1: 24.0, 2: 4.0, 4: 7.0}  # instructions for each transformed input: bytes are rounded one by one
_WRITTEN = {1: 8.0, 2: 4.0, 4: 6.0}  # and for each product; two of 16 bits are added at once
_NEAR = 0.5  # of the second-level cache holds what one kernel hands to the next


def input_seconds(layer: Layer | FloatLayer, target: Target) -> float:
    size = layer.element_bytes
    return _seconds(_READ[size] * layer.v_bytes / size, layer.v_bytes, _image_bytes(layer), target)


def output_seconds(layer: Layer | FloatLayer, target: Target) -> float:
    conv = layer.spec
    written = conv.batch * conv.pixels * layer.stored * conv.result_bytes * (1 + _added(conv))
    instructions = _WRITTEN[layer.element_bytes] * layer.positions * layer.tiles * layer.filters
    return _seconds(instructions, layer.product_bytes, written, target)


def _added(conv: ConvSpec) -> int:
    """Images that are added to the result."""
    return int(bool(conv.ending.residual)) if isinstance(conv, LinearSpec) else conv.extras.count("full")


def _image_bytes(layer: Layer | FloatLayer) -> int:
    conv = layer.spec
    return prod((conv.batch, layer.channels, conv.height, conv.width, layer.element_bytes))


def _seconds(instructions: float, between: int, outside: int, target: Target) -> float:
    gpu = target.gpu
    busy = instructions / (gpu.fma * gpu.multiprocessors * gpu.clock_ghz * 1e9)
    near = gpu.l2_gbps if between <= _NEAR * gpu.l2_bytes else gpu.dram_gbps
    moved = between / (near * 1e9) + outside / (gpu.dram_gbps * 1e9)
    return max(busy, moved) + gpu.launch_seconds
