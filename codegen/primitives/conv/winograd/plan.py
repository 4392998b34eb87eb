"""How a Winograd convolution is cut into tasks and register tiles, and what lies where: numbers, no code.

A task takes a block of tiles and a range of filters through all phases while they stay in the second-level
cache, so that only the weights stream, in the order in which they lie. Transforms of the input are repeated
for each range of filters, as estimates count; but tasks of the only block that one call has find them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, reduce
from itertools import chain, product
from math import prod
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from secateur.codegen.targets.target import Target
from secateur.codegen.vector.across import CHANNELS

from ....rounding import up
from ...operator import Cost
from ...specs import ConvSpec, layout_block
from ..rows_by_element import RowsByElement
from ..sums_of_channels import SumsOfChannels
from .arithmetic import Arithmetic
from .grid import TileGrid

Kind = TypeVar("Kind", bound=Arithmetic)
Numbers = tuple[int, int, int, int, int, int]
"""Of a `Blocking`, in order."""


class Blocking(NamedTuple):
    """Tiles of a task, register tile (tiles x filter vectors), channels of a chunk and filters of a range.

    `ahead` is how far the weights that are asked for lie before those in use; 0 asks for none.
    """

    tiles: int
    rows: int
    vectors: int
    channels: int
    filters: int
    ahead: int = 0

    @property
    def words(self) -> dict[str, str]:
        """What cuts the work (see `Primitive.tiling`)."""
        return {
            "register tile": f"{self.rows} tiles x {self.vectors} vectors of filters",
            "cache": f"{self.tiles} tiles, {self.channels} channels, {self.filters} filters at a time",
        }


@dataclass(frozen=True)
class Shape(TileGrid[ConvSpec], ABC, Generic[Kind]):
    """Sizes of a whole layer, whole blocks of channels and filters included."""

    arithmetic: Kind

    @property
    def lanes(self) -> int:
        return self.arithmetic.lanes

    @cached_property
    def phases(self) -> int:
        """Kernels of stride 1 that a kernel with strides is the sum of."""
        return prod(self.spec.strides)

    @cached_property
    def scattered(self) -> bool:
        """Whether a vector holds all phases of a channel, or several channels, of a few channels' image."""
        return layout_block(self.spec.in_layout) < self.spec.block

    @cached_property
    def channels(self) -> int:
        """Of all phases: those of a phase side by side, or where `scattered` the phases of a channel."""
        blocked = up(self.spec.channels, layout_block(self.spec.in_layout)) * self.phases
        return up(blocked, self.lanes) if self.scattered else blocked

    def used(self, rows: Any) -> Any:
        """The share of products that are made, in register tiles of so many tiles."""
        made = [self._made(tiles, rows) * count for tiles, count in self._needing.items()]
        return sum(made) / (self._made(self.tiles, rows) * self.positions)

    @cached_property
    def _needing(self) -> dict[int, int]:
        """How many tiles need a position: positions."""
        high, broad = self.extent
        found: dict[int, int] = {}
        for lowest, last in product((False, True), repeat=2):
            start, end = self.needing(lowest, last)
            count = (1 if lowest else high - 1) * (1 if last else broad - 1)
            found[end - start] = found.get(end - start, 0) + count
        return found

    def _made(self, tiles: int, rows: Any) -> Any:
        """Tiles that are multiplied where so many are needed."""
        left, rest = tiles % rows, self.rest(rows)
        return tiles - left + np.where(left == 0, 0, np.where(left <= rest, rest, rows))

    @cached_property
    def filters(self) -> int:
        return up(self.spec.filters, max(layout_block(self.spec.in_layout), self.lanes))

    @property
    def multiplied(self) -> int:
        """Channels that the products take, of those that are transformed."""
        return self.channels

    def panel_channels(self, blocking: Blocking) -> int:
        """Channels of a chunk that have weights."""
        return blocking.channels

    def legs(self, blocking: Blocking) -> int:
        """Parts of a chunk's channels of which each is summed anew; 0 where sums of chunks before go on."""
        return 0

    @property
    def stored(self) -> int:
        """Filters whose results are stored: a result in smaller blocks than the weights may not have all."""
        return up(self.spec.filters, layout_block(self.spec.out_layout))

    def blocks(self, blocking: Blocking) -> int:
        """Blocks of tiles."""
        return -(-self.tiles // blocking.tiles)

    def rest(self, rows: Any) -> Any:
        """Tiles that make up no whole register tile of `rows`, where they have one of their own.

        Of all tiles, or where none are left over of those that need a position.
        """
        if not self.arithmetic.rests:
            return 0
        some = reduce(np.maximum, (tiles % rows for tiles in self._needing))
        return np.where(self.tiles % rows, self.tiles % rows, some)

    def ranges(self, blocking: Blocking) -> int:
        """Ranges of filters."""
        return -(-self.filters // blocking.filters)

    def chunks(self, blocking: Blocking) -> int:
        """Chunks of channels."""
        return self.channels // blocking.channels

    def kept(self, blocking: Blocking) -> bool:
        """Whether the transformed inputs of one task are those of every other."""
        return self.blocks(blocking) == 1 and self.chunks(blocking) == 1

    def width(self, blocking: Blocking) -> int:
        """Filters of a group, which a register tile has."""
        return blocking.vectors * self.lanes

    def together(self, blocking: Blocking) -> Any:
        """Filters whose products lie side by side: of a group, or of as many as fill a vector of results."""
        return up(self.width(blocking), self.arithmetic.result_lanes)

    def transformed_stride(self, blocking: Blocking) -> int:
        """Elements from one position's matrix of transformed inputs to the next."""
        return self.arithmetic.apart(blocking.tiles * blocking.channels)

    def product_stride(self, blocking: Blocking) -> int:
        """Numbers from one position's products to the next."""
        kept = blocking.filters if self.arithmetic.chunked else self.together(blocking)
        return blocking.tiles * kept + self.arithmetic.gap

    @property
    def transformed_start(self) -> int:
        """Elements before the transformed inputs in the workspace: the copy of a tile at the border."""
        return self.positions * self.lanes if self.arithmetic.copies else 0

    def products_start(self, blocking: Blocking) -> int:
        """Numbers before the products."""
        elements = self.transformed_start + self.positions * self.transformed_stride(blocking)
        return elements * self.arithmetic.element_bytes // self.number_bytes

    @cached_property
    def number_bytes(self) -> int:
        """Of a product."""
        return np.dtype(self.arithmetic.sums).itemsize

    def workspace(self, blocking: Blocking) -> int:
        """Bytes."""
        return self.number_bytes * (
            self.products_start(blocking) + self.positions * self.product_stride(blocking)
        )

    def tasks(self, blocking: Blocking) -> int:
        return self.blocks(blocking) * self.ranges(blocking)

    @abstractmethod
    def blockings(self, target: Target) -> Iterator[Numbers]:
        """Those that fit the cache, of less workspace too; where none does, the smallest."""

    @abstractmethod
    def cycles(self, blocking: Any, target: Target) -> Any:
        """Time of the convolution: arithmetic, and the weights that stream in meanwhile.

        Of many blockings at once: each field of `blocking` is an array.
        """

    def step_cycles(self, rows: Any, vectors: Any, target: Target) -> Any:
        """Cycles to multiply one step of `rows` tiles at one position with `vectors` filter vectors."""
        products = self.arithmetic.products
        operations = rows * vectors * products.operations + products.prepared(rows, vectors)
        multiply = operations / (products.rate or target.fma_per_cycle)
        loads = self.arithmetic.waited(rows, vectors)
        busy = np.maximum(np.maximum(multiply, products.loads(rows, vectors) / 2), products.latency)
        return busy + products.loading * loads


def blocks_together(shape: Shape[Any], blocking: Blocking) -> int:
    """Blocks of channels of one pass through the innermost loop, which is short where one is a load."""
    arithmetic = shape.arithmetic
    blocks = blocking.channels // arithmetic.wide
    if isinstance(arithmetic.products, RowsByElement):
        return arithmetic.products.in_line(blocks)
    if isinstance(arithmetic.products, SumsOfChannels):
        return arithmetic.products.together(blocking.channels // CHANNELS)
    one = arithmetic.chunked and arithmetic.parts * arithmetic.wide == arithmetic.products.at_once
    return 2 if one and blocks % 2 == 0 else 1


def costs(shape: Shape[Kind], target: Target) -> dict[Blocking, Cost]:
    """Of the blockings that none beats in time and workspace; where memory is dear, less workspace counts."""
    spec = shape.spec
    channels = up(spec.channels, layout_block(spec.in_layout)) - shape.channels + shape.multiplied
    whole = replace(spec, channels=channels, filters=shape.filters, bias=False, epilogue=(), extras=())
    return _costs(replace(shape, spec=whole), target)


@lru_cache(maxsize=512)
def _costs(shape: Shape[Arithmetic], target: Target) -> dict[Blocking, Cost]:
    """The same of whole blocks, without what follows the sums: nothing else counts."""
    blockings = list(shape.blockings(target))
    numbers = np.fromiter(chain.from_iterable(blockings), np.int64)
    columns: Any = Blocking(*numbers.reshape(len(blockings), -1).T)
    seconds = shape.cycles(columns, target) / (target.clock_ghz * 1e9) + 3e-6
    workspace: Any = shape.workspace(columns)
    return {
        Blocking(*blockings[i]): Cost(float(seconds[i]), int(workspace[i]))
        for i in _undominated(seconds, workspace)
    }


def _undominated(seconds: Any, workspace: Any) -> list[int]:
    """Those that no other beats in one and equals in the other, the first of equal ones; by rising time."""
    order = np.lexsort((np.arange(len(seconds)), workspace, seconds))
    least = np.minimum.accumulate(workspace[order])
    better = np.ones(len(order), np.bool_)
    better[1:] = workspace[order][1:] < least[:-1]
    found: list[int] = order[better].tolist()
    return found


def far_gbps(moved: Any, target: Target) -> Any:
    """`Rates.far_gbps` of each of many amounts."""
    near = bool(target.rates.l3_bytes) & (moved <= target.rates.l3_bytes)
    return np.where(near, target.rates.l3_gbps, target.rates.dram_gbps)
