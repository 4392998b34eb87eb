"""First and second moments of what linear operators see, streamed: memory does not grow with the data.

A layer's second moments take 8 bytes (k k Cin / g)^2 for each of its g groups: a 3x3 convolution of 512
channels 170 MB. Layers of which all moments would take more than `BUDGET` at once are gathered in several
passes over the data; one layer that takes more by itself has a pass of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.support.progress import Progress, silent

from ...quantize.calibration.executor import Arrays, Executor, interpreted
from .matrices import Array, Floats, column_channels
from .samples import columns, positions

BUDGET = 512 << 20
"""Bytes of second moments held at once, where one layer does not take more."""


@dataclass(eq=False)
class Moments:
    """Sums over samples: how many, of columns (groups x n), and of their products (groups x n x n)."""

    count: int
    sums: Floats
    products: Floats

    @classmethod
    def nothing(cls, groups: int, n: int) -> Moments:
        return cls(0, np.zeros((groups, n)), np.zeros((groups, n, n)))

    def add(self, columns: Array) -> None:
        """Takes in groups x samples x n; products are summed in the type of `columns` over one call."""
        self.count += columns.shape[1]
        self.sums += columns.sum(axis=1, dtype=np.float64)
        self.products += np.matmul(columns.swapaxes(1, 2), columns)

    @property
    def means(self) -> Floats:
        return self.sums / self.count

    @property
    def covariances(self) -> Floats:
        """Second moments about the means, groups x n x n."""
        means = self.means
        return np.asarray(self.products / self.count - means[:, :, None] * means[:, None, :])


@dataclass(frozen=True, eq=False)
class Data:
    """Batches (arrays by input name, read as often as there are passes), who runs graphs, and who watches."""

    batches: Sequence[Arrays] = ()
    execute: Executor = interpreted
    progress: Progress = silent

    def values(self, graph: Graph, values: Sequence[Value]) -> Iterator[list[Array]]:
        """The arrays of `values` for each batch; SecateurError where there is not one."""
        if not self.batches:
            raise SecateurError("pruning by what layers compute needs calibration data, and there is none")
        return self.execute(graph, self.batches, values)


def second_moments(
    graph: Graph, operators: Sequence[Operator], data: Data
) -> Iterator[tuple[Operator, Moments]]:
    """The moments of the inputs of linear operators, each as soon as its pass over the data is done."""
    parts = list(_parts(operators))
    for number, part in enumerate(parts):
        data.progress("pruning: inputs of layers", number, len(parts))
        yield from _gathered(graph, part, data)


def _parts(operators: Sequence[Operator]) -> Iterator[list[Operator]]:
    part: list[Operator] = []
    for op in operators:
        if part and sum(map(_bytes, (*part, op))) > BUDGET:
            yield part
            part = []
        part.append(op)
    if part:
        yield part


def _bytes(op: Operator) -> int:
    groups, n = column_channels(op).shape
    return int(groups * n * n * 8)


def _gathered(graph: Graph, operators: list[Operator], data: Data) -> Iterator[tuple[Operator, Moments]]:
    found = [Moments.nothing(*column_channels(op).shape) for op in operators]
    inputs = [op.operands[0] for op in operators]
    for seed, arrays in enumerate(data.values(graph, inputs)):
        with np.errstate(all="ignore"):  # what is not finite is refused below
            for op, moments, x in zip(operators, found, arrays, strict=True):
                moments.add(columns(op, x, positions(op, seed)))
    while operators:
        op, moments = operators.pop(0), found.pop(0)
        if not np.isfinite(moments.products).all():
            raise SecateurError(f"{op!r}: what it reads is not finite on calibration data")
        yield op, moments
