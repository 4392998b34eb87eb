"""How a depthwise convolution is cut for a GPU: the frozen schedule of a kernel, and its time by the model.

A thread has 16 bytes of channels, or four channels in bytes, of `pixels` results side by side. It holds one
row of what these need of the input in registers, where the kernel's columns read it; then the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from ...primitives.specs import ConvSpec
from ...targets.target import Target
from .rates import word_rate
from .tile import WARP

THREADS = 128
_BUSY_WARPS = 16  # of a multiprocessor, from which on latencies are hidden
_SPARE_REGISTERS = 40
_MOST_REGISTERS = 128
_EFFICIENCY = 0.5
_NEAR = 0.5  # of the second-level cache's bandwidth, as threads read each pixel by themselves


@dataclass(frozen=True)
class Strip:
    """One schedule: results of a thread."""

    pixels: int

    def __post_init__(self) -> None:
        if self.pixels < 1:
            raise ValueError(f"{self}: a thread has results")

    @property
    def words(self) -> dict[str, str]:
        """What cuts the work (see `Primitive.tiling`)."""
        return {"thread": f"{self.pixels} pixels side by side"}

    def columns(self, spec: ConvSpec) -> int:
        """Of the input that a thread's results need."""
        return (self.pixels - 1) * spec.strides[1] + spec.span(1)

    def across(self, spec: ConvSpec) -> int:
        """Strips of a row of results."""
        return -(-spec.out_width // self.pixels)

    def threads(self, spec: ConvSpec) -> int:
        """That have work."""
        return parts(spec) * blocks(spec) * spec.batch * spec.out_height * self.across(spec)

    def registers(self, spec: ConvSpec) -> int:
        """An estimate of what a thread takes: four words of each sum, and a row of the input."""
        return 4 * self.pixels + words_of(spec) * self.columns(spec) + _SPARE_REGISTERS

    def seconds(self, spec: ConvSpec, target: Target) -> float:
        """Arithmetic, DRAM or the second-level cache, whichever takes longest; and the launch."""
        gpu, size = target.gpu, spec.element_bytes
        warps = -(-self.threads(spec) // WARP)
        here = -(-warps // gpu.multiprocessors)
        taps = prod(spec.kernel)
        products = 4 * taps * self.pixels if size == 1 else words_of(spec) * taps * self.pixels
        hidden = _EFFICIENCY * min(1.0, here / _BUSY_WARPS)
        busy = here * WARP * products / word_rate(target, size) / hidden / (gpu.clock_ghz * 1e9)
        read = self.threads(spec) * words_of(spec) * 4 * self.columns(spec) * spec.kernel[0]
        pixels = spec.height * spec.width * size + spec.pixels * spec.result_bytes
        moved = spec.batch * spec.channels * pixels
        far = max(moved / (gpu.dram_gbps * 1e9), read / (_NEAR * gpu.l2_gbps * 1e9))
        return max(busy, far) + gpu.launch_seconds


def words_of(spec: ConvSpec) -> int:
    """Of a thread's channels: four bytes are one, four sums; 16 bytes of floats are four."""
    return 1 if spec.element_bytes == 1 else 4


def parts(spec: ConvSpec) -> int:
    """Threads that share a block of 16 bytes."""
    return 4 // words_of(spec)


def lanes(spec: ConvSpec) -> int:
    """Channels of a thread."""
    return words_of(spec) * 4 // spec.element_bytes


def blocks(spec: ConvSpec) -> int:
    """Of channels."""
    return -(-spec.channels // (lanes(spec) * parts(spec)))


def fastest(spec: ConvSpec, target: Target) -> Strip:
    """By the model, of those that a thread has registers for."""
    found = [strip for strip in map(Strip, (8, 4, 2, 1)) if strip.registers(spec) <= _MOST_REGISTERS]
    return min(found or [Strip(1)], key=lambda strip: strip.seconds(spec, target))
