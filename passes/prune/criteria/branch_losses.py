"""What it costs that a residual branch goes whole, with the rest as it is or solved anew.

    y = act(skip + branch)   ->   y' = act(skip)

As it is, the loss is the variance of the branch about its channels' means, as a share of that of the
sum (the means of what follows are repaired). Where what follows is solved anew, it takes up whatever of
y is linear in y': the loss is the variance of y that a linear map of y' does not explain, as a share of
that of y. The map is fitted to each half of the images and judged on the other. Either way the share is
multiplied by how much of such an error reaches the network's outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from secateur.ir.elementwise import FUNCTIONS
from secateur.ir.graph import Graph, Operator, Value

from ..linear.matrices import Array, Floats
from ..linear.moments import BUDGET
from .branches import Branch
from .criterion import Evidence

POSITIONS = 64
"""Of each image at which channels are looked at."""
RIDGE = 1e-3
"""Of the mean variance of the skip's channels."""

Judge = Callable[[Evidence, Sequence[Branch]], dict[str, float]]


def branch_losses(evidence: Evidence, branches: Sequence[Branch]) -> dict[str, float]:
    """The loss of each branch by name, weights as they are; SecateurError where there is no data."""
    values = [v for b in branches for v in (b.value, b.sum.result)]
    sums = [_Variance() for _ in values]
    for arrays in evidence.data.values(evidence.graph, values) if values else ():
        for variance, array in zip(sums, arrays, strict=True):
            variance.add(array)
    pairs = zip(branches, sums[::2], sums[1::2], strict=True)
    return {b.name: _loss(evidence, b, own.total, whole.total) for b, own, whole in pairs}


def solved_branch_losses(evidence: Evidence, branches: Sequence[Branch]) -> dict[str, float]:
    """The same with all that follows solved anew; never more than weights as they are lose."""
    found = branch_losses(evidence, branches)
    for part in _parts(branches):
        ends = [_End.of(evidence.graph, branch) for branch in part]
        halves = [(_Fit(), _Fit()) for _ in part]
        values = [v for end in ends for v in (end.skip, end.result)]
        for number, arrays in enumerate(evidence.data.values(evidence.graph, values)):
            for end, fits, x, y in zip(ends, halves, arrays[::2], arrays[1::2], strict=True):
                fits[number % 2].add(end.passed(x), y)
        for branch, (even, odd) in zip(part, halves, strict=True):
            if even.count and odd.count:
                left = even.unexplained(odd.map()) + odd.unexplained(even.map())
                loss = _loss(evidence, branch, left, even.whole + odd.whole)
                found[branch.name] = min(found[branch.name], loss)
    return found


def _loss(evidence: Evidence, branch: Branch, lost: float, whole: float) -> float:
    sensitivity = evidence.sensitivity.get(branch.sum.result, 1.0)
    return sensitivity * max(lost, 0.0) / whole if whole > 0 else 0.0


def _parts(branches: Sequence[Branch]) -> Iterator[list[Branch]]:
    """Branches whose moments fit in memory together."""
    part: list[Branch] = []
    for branch in branches:
        if part and sum(map(_bytes, (*part, branch))) > BUDGET:
            yield part
            part = []
        part.append(branch)
    if part:
        yield part


def _bytes(branch: Branch) -> int:
    return 4 * 8 * int(branch.skip.type.shape[1]) ** 2


@dataclass(frozen=True, eq=False)
class _End:
    """Where a branch ends: the skip, and the sum, each behind the activation that alone reads the sum."""

    skip: Value
    result: Value
    activation: Operator | None = None

    @classmethod
    def of(cls, graph: Graph, branch: Branch) -> _End:
        users, result = branch.sum.result.users, branch.sum.result
        if len(users) == 1 and not graph.is_output(result) and _is_activation(users[0]):
            return cls(branch.skip, users[0].result, users[0])
        return cls(branch.skip, result)

    def passed(self, x: Array) -> Array:
        if self.activation is None:
            return x
        function = FUNCTIONS[self.activation.name.removeprefix("nn.")]
        passed: Array = function.evaluate(x, *(self.activation[p] for p in function.params))
        return passed


def _is_activation(op: Operator) -> bool:
    function = FUNCTIONS.get(op.name.removeprefix("nn."))
    return function is not None and function.arity == 1


@dataclass(eq=False)
class _Fit:
    """Moments of what is left, x, and of what it was, y, at some positions, about their means."""

    count: int = 0
    mean_x: Floats = field(default_factory=lambda: np.zeros(()))
    mean_y: Floats = field(default_factory=lambda: np.zeros(()))
    xx: Floats = field(default_factory=lambda: np.zeros(()))
    xy: Floats = field(default_factory=lambda: np.zeros(()))
    yy: float = 0.0

    def add(self, x: Array, y: Array) -> None:
        x, y = _rows(x), _rows(y)
        self.count += len(x)
        self.mean_x, self.mean_y = self.mean_x + x.sum(axis=0), self.mean_y + y.sum(axis=0)
        self.xx, self.xy = self.xx + x.T @ x, self.xy + x.T @ y
        self.yy += float(np.square(y).sum())

    @property
    def _centred(self) -> tuple[Floats, Floats]:
        x, y = self.mean_x / self.count, self.mean_y / self.count
        return self.xx - self.count * np.outer(x, x), self.xy - self.count * np.outer(x, y)

    @property
    def whole(self) -> float:
        """The variance of y, times the number of samples."""
        return self.yy - float(np.square(self.mean_y).sum()) / self.count

    def map(self) -> Floats:
        """That of least squares from x to y."""
        xx, xy = self._centred
        ridge = RIDGE * max(float(np.trace(xx)) / len(xx), np.finfo(np.float64).tiny)
        return np.asarray(np.linalg.solve(xx + ridge * np.eye(len(xx)), xy))

    def unexplained(self, map: Floats) -> float:
        """Of `whole`, what a map leaves; a bias is taken up."""
        xx, xy = self._centred
        return self.whole - 2 * float((map * xy).sum()) + float((map * (xx @ map)).sum())


def _rows(array: Array) -> Floats:
    """Some positions of all images x channels."""
    rows = np.moveaxis(array.reshape(*array.shape[:2], -1), 1, 2)
    step = -(-rows.shape[1] // POSITIONS)
    return rows[:, ::step].reshape(-1, array.shape[1]).astype(np.float64)


class _Variance:
    """Variance of channels (axis 1) about their means, added up over channels; streamed."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Floats = np.zeros(())
        self.square: Floats = np.zeros(())

    def add(self, array: Array) -> None:
        axes = tuple(i for i in range(array.ndim) if i != 1)
        wide = array.astype(np.float64)
        self.count += 1
        self.mean = self.mean + wide.mean(axis=axes)
        self.square = self.square + np.square(wide).mean(axis=axes)

    @property
    def total(self) -> float:
        return float(np.sum(self.square / self.count - np.square(self.mean / self.count)))


JUDGES: Mapping[str, Judge] = {"output_error": branch_losses, "reconstruction": solved_branch_losses}
"""By criterion, what judges branches on its scale; other criteria cannot say what a branch loses."""
