"""8-bit convolution as a product of matrices by registers that hold tiles of them (`Isa.tiles`).

A strip of the image is copied once, pixel by pixel, and multiplied as it lies: a tap's channels of 16 pixels
are a tile, and so are 16 filters' weights of them. Taps are not copied apart, so a pixel is copied once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....kernel import Kernel
from ....targets.isa import Tiles
from ....targets.target import Target
from ....vector.dot import QUAD
from ...operator import Cost
from ...specs import ConvSpec, Floats
from ..int8_spec import FEW, LinearSpec
from ..plan import KernelSpec
from ..planned import Planned
from .nest import build
from .plan import Copied, Strip, costs, filter_tiles, shape_of

Array = NDArray[Any]


@dataclass(frozen=True)
class TileProducts(Planned[LinearSpec, Strip]):
    """Any kernel, stride, dilation and padding; one group."""

    name: str = "tiles"

    def layouts(self, spec: ConvSpec, target: Target) -> tuple[tuple[str, str], ...]:
        source, result = spec.blocked_layouts(target)
        few = spec.channels <= FEW
        return ((spec.few_channels_layout() if few else source, result),)

    def applicable(self, spec: LinearSpec, target: Target) -> str | None:
        if target.isa.tiles is None:
            return "no tiles of bytes are multiplied"
        return super().applicable(spec, target)

    def plans(self, spec: LinearSpec, target: Target) -> dict[Strip, Cost]:
        return costs(spec.costed(), target)

    def plan_words(self, plan: Strip) -> dict[str, str]:
        parts = f", filters in {plan.splits} parts" if plan.splits > 1 else ""
        return {"strip": f"{plan.rows} rows{parts}"}

    def pack(
        self, spec: LinearSpec, target: Target, weights: Array, bias: Floats | None
    ) -> tuple[Array, ...]:
        tiles = _tiles(target)
        return (packed(weights, Copied(spec, self.plan(spec, target).rows, tiles)),)

    def kernel(self, spec: LinearSpec, target: Target) -> Kernel:
        strip, tiles = self.plan(spec, target), _tiles(target)
        spec = spec.unbordered()  # the copied image holds what padding is
        tasks = spec.batch * -(-spec.out_height // strip.rows) * strip.splits
        key = KernelSpec(self.name, spec, strip, target.lanes)
        return Kernel(self.name, key, partial(build, spec, strip, tiles), tasks, self.workspace(spec, target))


def _tiles(target: Target) -> Tiles:
    assert target.isa.tiles is not None, "the instruction set has tiles"
    return target.isa.tiles


def packed(weights: Array, copied: Copied) -> Array:
    """OIHW i8 as [group of filters][step][tile][quad of channels][filter][4]; a last tile is a group."""
    spec, tiles = copied.spec, copied.tiles
    vectors, size = filter_tiles(spec, tiles), copied.chunks * tiles.row_bytes
    filters, channels, height, width = weights.shape
    pixels = np.zeros((vectors * tiles.columns, height, width, copied.depth), np.int8)
    pixels[:filters, :, :, :channels] = weights.transpose(0, 2, 3, 1)
    runs = np.zeros((vectors * tiles.columns, height, copied.runs, size), np.int8)
    runs[..., : copied.run] = pixels.reshape(-1, height, copied.runs, copied.run)
    quads = runs.reshape(vectors, tiles.columns, copied.steps, -1, QUAD).transpose(0, 2, 3, 1, 4)
    together = shape_of(vectors).filters
    whole = vectors - vectors % together
    groups = quads[:whole].reshape(-1, together, *quads.shape[1:]).swapaxes(1, 2)
    return np.concatenate([groups.ravel(), quads[whole:].ravel()])


TILES = TileProducts()
