"""Selection's costs by times that were measured, and by estimates where there are none."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from secateur.codegen.backends.registry import backend_of
from secateur.codegen.targets.target import Target
from secateur.ir.choice import Choice, CostTable
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Operator
from secateur.ir.types import Layout, TensorType

from .calibrate import Calibration
from .candidates import Candidate, of_choice, of_conversion
from .kin import kin_of
from .table import Table, compiled_for, kernels_version, read_table


def with_times(choices: Sequence[Choice], times: Sequence[float | None]) -> tuple[Choice, ...]:
    """The choices with their times; one without keeps its estimate, stretched like that of the best with one.

    So what was too slow by the estimate to be measured stays as many times slower. Where no time
    is known, estimates stay as they are.
    """
    known = [(c.seconds, time) for c, time in zip(choices, times, strict=True) if time is not None]
    if not known:
        return tuple(choices)
    estimate, time = min(known)
    stretch = time / estimate if estimate else 1.0
    seconds = (c.seconds * stretch if t is None else t for c, t in zip(choices, times, strict=True))
    return tuple(replace(c, seconds=s) for c, s in zip(choices, seconds, strict=True))


@dataclass
class TableCosts:
    """Implements `secateur.ir.choice.CostTable` with a table's times.

    Where it has none of an operator, those of kernels of the same kind at other extents tell (`Calibration`);
    what nothing tells of is estimated.
    """

    table: Table
    target: Target
    name: str = "the cost table"
    _analytic: CostTable = field(init=False, repr=False)
    _choices: dict[Operator, tuple[Choice, ...]] = field(default_factory=dict, repr=False)
    _conversions: dict[tuple[TensorType, Layout, Layout], float | None] = field(
        default_factory=dict, repr=False
    )
    _estimated: int = 0
    _between: int = 0

    def __post_init__(self) -> None:
        self._analytic = backend_of(self.target).costs(self.target)

    @cached_property
    def _calibration(self) -> Calibration:
        return Calibration((e.kin, e.timing.seconds) for e in self.table.entries if e.kin is not None)

    @property
    def between(self) -> int:
        """Operators whose times are calibrated by others."""
        return self._between

    def choices(self, op: Operator) -> tuple[Choice, ...]:
        if op not in self._choices:
            self._choices[op] = self._timed(op)
        return self._choices[op]

    def has(self, op: Operator) -> bool:
        """Whether a way to compute the operator has a time of its own."""
        return any(time is not None for time in self._times(self._kernels(op, self._analytic.choices(op))))

    def estimate(self, op: Operator) -> float:
        """The least time by the cost model, whatever the table says."""
        return min(choice.seconds for choice in self._analytic.choices(op))

    def _kernels(self, op: Operator, choices: Sequence[Choice]) -> list[Candidate | None]:
        return [of_choice(op, choice, self.target) for choice in choices]

    def _times(self, kernels: Sequence[Candidate | None]) -> list[float | None]:
        return [self.table.seconds.get(kernel.symbol) if kernel else None for kernel in kernels]

    def _timed(self, op: Operator) -> tuple[Choice, ...]:
        choices = self._analytic.choices(op)
        kernels = self._kernels(op, choices)
        times = self._times(kernels)
        if any(choice.seconds <= 0 for choice in choices) or any(time is not None for time in times):
            return with_times(choices, times)
        times = [self._calibrated(kernel) for kernel in kernels]
        known = any(time is not None for time in times)
        self._between += known
        self._estimated += not known
        return with_times(choices, times)

    def _calibrated(self, kernel: Candidate | None) -> float | None:
        return self._calibration.seconds(kin_of(kernel)) if kernel else None

    def weight_bytes(self, op: Operator, choice: Choice) -> int:
        return self._analytic.weight_bytes(op, choice)

    def conversion(self, type: TensorType, source: Layout, destination: Layout) -> float:
        asked = (type, source, destination)
        estimate = self._analytic.conversion(type, source, destination)
        new = source != destination and asked not in self._conversions
        if new and (kernel := of_conversion(type, source, destination, self.target, estimate)):
            measured = self.table.seconds.get(kernel.symbol)
            self._conversions[asked] = self._calibrated(kernel) if measured is None else measured
        known = self._conversions.get(asked)
        return estimate if known is None else known

    @property
    def note(self) -> str | None:
        """How much of what was asked had to be estimated; None where the table knew it all."""
        missing = (
            (self._estimated, len(self._choices), "operators"),
            (sum(s is None for s in self._conversions.values()), len(self._conversions), "conversions"),
        )
        words = [f"{count} of {total} {what}" for count, total, what in missing if count]
        return f"{self.name} has no times of {' and '.join(words)}; they are estimated" if words else None

    def warn(self) -> None:
        """One warning where anything had to be estimated."""
        if self.note:
            warnings.warn(self.note, stacklevel=3)


def table_costs(path: Path, target: Target) -> TableCosts:
    """The costs in a table's file; SecateurError where it is damaged, or of another target.

    Warns where the kernels have changed since it was made.
    """
    table = read_table(path)
    check_target(table, target, str(path))
    if table.compiler != kernels_version():
        warnings.warn(f"{path}: made with kernels of another version; times may have changed", stacklevel=2)
    return TableCosts(table, target, str(path))


def check_target(table: Table, target: Target, path: str) -> None:
    """SecateurError where the table was not made for `target`.

    Boards that run the same code differ in speed, so names must agree; `host` is whatever row of
    the targets its code was compiled for.
    """
    if table.processor != compiled_for(target):
        made, wanted = f"{table.target} ({table.processor})", f"{target.name} ({compiled_for(target)})"
        raise SecateurError(f"{path}: is for target {made}, not for {wanted}; profile the model for that")
    if "host" not in (table.target, target.name) and table.target != target.name:
        wanted = f"{target.name}; profile the model for that"
        raise SecateurError(f"{path}: is for target {table.target}, not for {wanted}")
