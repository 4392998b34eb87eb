"""Grouped convolutions as matrix products: a tile of filters reads the blocks of its groups' channels alone.

Where a tile's filters are of several groups, or groups share a block, it reads all of these, with weights of
zero for channels of other groups.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import chain
from typing import Any, ClassVar

from numpy.typing import NDArray

from ...kernel import Kernel
from ...primitives.conv.tile import spread_groups, window
from ...primitives.specs import ConvSpec, Floats, layout_block
from ...targets.target import Target
from .grouped_gemm_kernel import GroupedSpec, build
from .implicit_gemm import BytesGemm, FloatGemm, HalfGemm, ImplicitGemm
from .matrix_tile import matrix_candidates
from .panels import deeper
from .tile import BLOCK_BYTES, Tile, Work, candidates

Array = NDArray[Any]


@dataclass(frozen=True)
class Groups:
    """What the blocks that a tile reads depend on, `block` channels each."""

    channels: int
    filters: int
    groups: int
    block: int
    taps: int

    def read(self, tile: Tile) -> int:
        """Blocks of channels."""
        return window(self, 1, tile.filters, self.block)

    def within(self, work: Work, tile: Tile) -> Work:
        """The work of `tile` where `work` is that of one group, zeros among its weights included."""
        more = self.read(tile) * BLOCK_BYTES - self.channels * (BLOCK_BYTES // self.block)
        moved = work.moved + self.filters * self.taps * more
        return replace(work, steps=self.read(tile) * self.taps, moved=moved)


@lru_cache(maxsize=1 << 12)
def _fastest(work: Work, groups: Groups, target: Target) -> Tile | None:
    """By the model, of equal ones that which multiplies least; None where no tile fits."""

    def cost(tile: Tile) -> tuple[float, int]:
        within = groups.within(work, tile)
        return within.seconds(tile, target), within.products(tile) * within.steps

    return min(_candidates(work, groups, target), key=cost, default=None)


def _candidates(work: Work, groups: Groups, target: Target) -> Iterator[Tile]:
    """Tiles that divide the blocks which they read."""
    architecture = target.cuda.architecture
    matrix = matrix_candidates(work.filters, 0, architecture) if work.matrix_rate else ()
    for tile in chain(matrix, candidates(work.filters, 0, architecture)):
        if tile.sums <= work.most_sums and groups.read(tile) % tile.blocks == 0:
            yield from deeper(tile, groups.within(work, tile), target)


@dataclass(frozen=True)
class GroupedGemm(ImplicitGemm):
    """Any number of groups but one a channel, kernel, stride, dilation and padding."""

    name: str = "grouped_gemm"
    parted: ClassVar[bool] = False

    def applicable(self, spec: ConvSpec, target: Target) -> str | None:
        if spec.groups == 1:
            return "a single group"
        if spec.groups == spec.channels == spec.filters:
            return "a group for each channel"
        if (spec.in_layout, spec.out_layout) not in self.layouts(spec, target):
            return f"layouts {spec.in_layout} -> {spec.out_layout}"
        return None if self.tile(spec, target) else "no tile fits the GPU"

    def tile(self, spec: ConvSpec, target: Target) -> Tile | None:
        return _fastest(super().work(spec, target), self._groups(spec, target), target)

    def work(self, spec: ConvSpec, target: Target) -> Work:
        return self._groups(spec, target).within(super().work(spec, target), self._tile(spec, target))

    def _groups(self, spec: ConvSpec, target: Target) -> Groups:
        block, taps = layout_block(self.layouts(spec, target)[0][0]), spec.kernel[0] * spec.kernel[1]
        return Groups(spec.channels, spec.filters, spec.groups, block, taps)

    def blocks_read(self, spec: ConvSpec, target: Target) -> int:
        return self._groups(spec, target).read(self._tile(spec, target))

    def pack(self, spec: ConvSpec, target: Target, weights: Array, bias: Floats | None) -> tuple[Array, ...]:
        block, width = self._groups(spec, target).block, self._tile(spec, target).filters
        given = weights.reshape(*weights.shape[:2], *spec.kernel)
        return super().pack(spec, target, spread_groups(spec, given, 1, width, block), bias)

    def kernel(self, spec: ConvSpec, target: Target) -> Kernel:
        one, read = self._key(spec, target), self.blocks_read(spec, target)
        key = GroupedSpec(one.conv, one.tile, one.blocks, one.dot, window=read)
        tile, tasks = key.tile, self.work(spec, target).tasks(key.tile)
        return Kernel(self.name, key, partial(build, key), tasks, tile.shared_bytes, threads=tile.threads)


GROUPED_GEMM = GroupedGemm()
PRIMITIVES = (
    FloatGemm(GROUPED_GEMM, spreads=True),
    HalfGemm(GROUPED_GEMM, spreads=True),
    BytesGemm(GROUPED_GEMM),
)
