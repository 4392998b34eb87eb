"""A stated model of a machine that multiplies in an array, as the Edge TPU does: estimates, no measurements.

Weights stand in the array, `depth` of one sum by `filters` sums, and one pixel passes in a cycle. To change
the weights takes `depth` cycles, which hide behind as many pixels. A depthwise convolution has one sum a
channel, which one row of the array computes, a tap in a cycle. Everything else moves bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Work:
    """What an operator does: `pixels` sums of `depth` products for each of `filters`, on bytes that move.

    `apart`: each filter has a channel of its own. Without products depth and filters are 0.
    """

    moved: int
    pixels: int = 0
    depth: int = 0
    filters: int = 0
    apart: bool = False


@dataclass(frozen=True)
class Systolic:
    """An array of `depth` x `filters` multipliers at `clock` Hz, and memory of `bus` bytes a cycle.

    `links` are the ways to the host by name, in bytes a second: of inputs, outputs, and weights beyond
    `cached_bytes`.
    """

    depth: int
    filters: int
    clock: float
    bus: int
    cached_bytes: int = 0
    links: Mapping[str, float] = field(default_factory=dict)

    def seconds(self, work: Work) -> float:
        """Of an operator whose weights are there: its multiplications or its bytes, whatever takes longer."""
        return max(self._cycles(work), work.moved / self.bus) / self.clock

    def _cycles(self, work: Work) -> int:
        columns = -(-work.filters // self.filters)
        if work.apart:
            return columns * work.depth * work.pixels
        return columns * -(-work.depth // self.depth) * max(work.pixels, self.depth)


EDGE_TPU = Systolic(64, 64, 480e6, 64, 7 << 20, {"USB 3": 440e6, "PCIe": 380e6})
"""Links at what VGG-16 takes by Coral's table of benchmarks, nearly all of it for streaming 131 MB."""
CORE = Systolic(4, 16, 1e9, 16)
"""Any core of a microcontroller or phone: 16 sums of 4 bytes in a cycle, or 16 bytes moved."""
