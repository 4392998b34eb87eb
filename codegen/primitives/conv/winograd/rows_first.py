"""Transforms of tiles along rows first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from secateur.codegen.tir import Registers
from secateur.codegen.vector.streams import Distances, Stream, Table, distance, held, last_load

from ...specs import layout_block
from .arithmetic import FloatArithmetic, Read, Steps
from .patch import Patch
from .plan import Shape

Expr = Any
Buffer = Any
Row = Callable[[int], Sequence[Expr]]  # its number -> the values of a tile


class RowsFirst:
    """Rows of binary16 first, of vectors whose places are registers, by the same `steps` on both axes.

    Neighbouring pixels of a row are one load, and results have fewer columns than rows or as many: those that
    are kept until columns are transformed are few. Positions' numbers lie `stride` elements apart.
    """

    def __init__(self, shape: Shape[FloatArithmetic], stride: int, steps: Steps) -> None:
        self.arithmetic, self.extent, self.steps = shape.arithmetic, shape.extent, steps
        broad, size = self.extent[1], self.arithmetic.element_bytes
        self.distances = Distances(broad * stride * size, [j * stride * size for j in range(broad)])
        onward = shape.spec.width - (
            broad - last_load(broad)
        )  # pixels from a row's last load to the next row
        self.onward = distance(onward * self.arithmetic.lanes * size)

    def inputs(self, row: Row, place: tuple[Buffer, Expr]) -> None:
        """V = B^T d B of a tile, to the matrices of positions."""
        half, table = self._along_rows(row, self.extent[1]), self._table(place)
        for j in range(self.extent[1]):
            for i, value in enumerate(self.steps([line[j] for line in half])):
                table.store(i, j, value)

    def products(self, place: tuple[Buffer, Expr], columns: int) -> list[list[Expr]]:
        """f A of a tile's products, of so many columns."""
        table = self._table(place)
        return self._along_rows(lambda i: [table.load(i, j) for j in range(self.extent[1])], columns)

    def inner(self, patch: Patch, read: Read) -> Row:
        """Of a tile that lies in the image: loads of several pixels, where these lie side by side."""
        arithmetic, broad = self.arithmetic, self.extent[1]
        if patch.spec.strides != (1, 1) or layout_block(patch.spec.in_layout) != arithmetic.lanes:
            return lambda i: [read(0, i, j) for j in range(broad)]
        first = patch.pixel(0, patch.top, patch.left)
        pixels = Stream(patch.data, first, arithmetic.lanes, arithmetic.raw)
        return lambda _: pixels.take(broad, self.onward)

    def border(self, workspace: Buffer) -> Row:
        """Of a tile that does not, from its copy."""
        pixels = Stream(workspace, 0, self.arithmetic.lanes, self.arithmetic.raw)
        return lambda _: pixels.take(self.extent[1])

    def _table(self, place: tuple[Buffer, Expr]) -> Table:
        return Table(place, self.arithmetic.lanes, self.arithmetic.raw, self.extent[0], self.distances)

    def _along_rows(self, row: Row, broad: int) -> list[list[Expr]]:
        """The steps, which give `broad` values, along each row.

        Each is complete before the next: LLVM would begin all, and spill.
        """
        high, (lanes, dtype) = self.extent[0], (self.arithmetic.lanes, self.arithmetic.raw)
        half = Registers(high * broad, lanes, dtype)
        for i in range(high):
            values, loaded = row(i), Registers(self.extent[1], lanes, dtype)
            for j, value in enumerate(values):
                loaded[j] = value
            for j, value in enumerate(self.steps([loaded[j] for j in range(loaded.count)])):
                half[i * broad + j] = value
            held(half, range(i * broad, (i + 1) * broad))
        return [[half[i * broad + j] for j in range(broad)] for i in range(high)]
