"""What a register-tiled nest moves between levels of the memory: bytes, from its schedule alone.

A cache is taken as one that keeps what was used last and has no sets. A task reads the rows of the image
under a strip of an output row, and one panel of weights, tile by tile; the next task is the same strip of the
next panel, or the next strip of the same one.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...rounding import up
from ...targets.target import Target
from ..specs import ConvSpec, layout_block
from .plan import Tiling, row_runs, strip_count


@dataclass(frozen=True)
class Traffic:
    """Bytes of a layer: read into the first-level cache, read into the second from beyond, and written."""

    near: int
    far: int
    written: int

    @property
    def words(self) -> str:
        near, far, written = (f"{number / 1e6:.2f} MB" for number in (self.near, self.far, self.written))
        return f"{near} into the first-level cache, {far} into the second, {written} written"


@dataclass(frozen=True)
class TiledTraffic:
    """Of the nest that goes through `spec` by `tiling`, of filters in vectors of `lanes`."""

    spec: ConvSpec
    tiling: Tiling
    lanes: int

    def on(self, target: Target) -> Traffic:
        written = self.spec.batch * up(self.spec.filters, self.lanes) * self.spec.pixels
        near, far = self.fetched(target.l1_bytes), self.fetched(target.l2_bytes)
        return Traffic(near, far, written * self.spec.result_bytes)

    def fetched(self, capacity: int) -> int:
        """Bytes of the image and the weights that a cache of `capacity` bytes reads."""
        return self.spec.batch * (self._weights(capacity) + self._image(capacity))

    @property
    def groups(self) -> int:
        return self.spec.filter_vectors(self.lanes) // self.tiling.vectors

    @property
    def places(self) -> int:
        """Strips of all output rows."""
        return self.spec.out_height * strip_count(self.spec, self.tiling)

    @property
    def panel(self) -> int:
        """Bytes of the weights of one group of filters."""
        taps = self.spec.kernel[0] * self.spec.kernel[1]
        return self.spec.element_bytes * taps * self._depth * self.tiling.vectors * self.lanes

    @property
    def _depth(self) -> int:
        """Channels that a filter multiplies, in whole blocks."""
        return up(self.spec.channels // self.spec.groups, layout_block(self.spec.in_layout))

    @property
    def _columns(self) -> int:
        """Of the output, in a strip."""
        return self.tiling.columns or self.spec.out_width

    @property
    def _tiles(self) -> int:
        """Of a strip."""
        if self.spec.wide:
            return sum(run.tiles for run in row_runs(self.spec, 0, self._columns, self.tiling.pixels))
        return -(-self._columns // self.tiling.pixels)

    def _bytes(self, rows: int, columns: int) -> int:
        """Of so many rows of the kernel and columns of the output, as they are read of the image."""
        spec = self.spec
        broad = min(
            spec.width, (columns - 1) * spec.strides[1] + (spec.kernel[1] - 1) * spec.dilations[1] + 1
        )
        if spec.kernel[1] == 1 and spec.strides[1] > 1:
            broad = columns  # what lies between is not read, but for what shares its line
        return spec.element_bytes * rows * broad * self._depth

    @property
    def _strip(self) -> int:
        """Bytes of the image that a task reads."""
        return self._bytes(min(self.spec.kernel[0], self.spec.height), self._columns)

    def _image_once(self) -> int:
        """Bytes of all rows that any task reads."""
        spec = self.spec
        rows = min(spec.height, spec.out_height * min(spec.strides[0], spec.kernel[0]) + spec.kernel[0] - 1)
        return self._bytes(rows, spec.out_width)

    def _weights(self, capacity: int) -> int:
        every = self.groups * self.panel
        tile = self._strip // self._tiles
        if self.panel + tile > capacity:
            return every * self.places * self._tiles
        kept = every + self._strip <= capacity
        return every if self.tiling.filters_outer or kept else every * self.places

    def _image(self, capacity: int) -> int:
        once, again = self._image_once(), self.places * self._strip
        stays = self.panel + self._strip <= capacity
        if self.tiling.filters_outer:
            if once + self.panel <= capacity:
                return once
            return self.groups * (once if stays else again)
        if not stays:
            return self.groups * again
        return once if self.groups * self.panel + self._strip <= capacity else again
