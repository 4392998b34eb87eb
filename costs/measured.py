"""Selection's costs by times that were measured, and by estimates where there are none."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from secateur.codegen.backends.registry import backend_of
from secateur.codegen.targets.target import Target
from secateur.ir.choice import Choice, CostTable
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Operator
from secateur.ir.types import Layout, TensorType

from .candidates import of_choice, of_conversion
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
    """Implements `secateur.ir.choice.CostTable` with a table's times, and estimates where it has none."""

    table: Table
    target: Target
    name: str = "the cost table"
    _analytic: CostTable = field(init=False, repr=False)
    _choices: dict[Operator, tuple[Choice, ...]] = field(default_factory=dict, repr=False)
    _conversions: dict[tuple[TensorType, Layout, Layout], float | None] = field(
        default_factory=dict, repr=False
    )
    _estimated: int = 0

    def __post_init__(self) -> None:
        self._analytic = backend_of(self.target).costs(self.target)

    def choices(self, op: Operator) -> tuple[Choice, ...]:
        if op not in self._choices:
            self._choices[op] = self._timed(op)
        return self._choices[op]

    def _timed(self, op: Operator) -> tuple[Choice, ...]:
        choices = self._analytic.choices(op)
        kernels = [of_choice(op, choice, self.target) for choice in choices]
        times = [self.table.seconds.get(kernel.symbol) if kernel else None for kernel in kernels]
        free = any(choice.seconds <= 0 for choice in choices)
        self._estimated += all(time is None for time in times) and not free
        return with_times(choices, times)

    def weight_bytes(self, op: Operator, choice: Choice) -> int:
        return self._analytic.weight_bytes(op, choice)

    def conversion(self, type: TensorType, source: Layout, destination: Layout) -> float:
        asked = (type, source, destination)
        new = source != destination and asked not in self._conversions
        if new and (kernel := of_conversion(type, source, destination, self.target)):
            self._conversions[asked] = self.table.seconds.get(kernel.symbol)
        known = self._conversions.get(asked)
        return self._analytic.conversion(type, source, destination) if known is None else known

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
        made = f"target {table.target} ({table.processor})"
        raise SecateurError(f"{path}: is for {made}, not for {target.name} ({compiled_for(target)})")
    if "host" not in (table.target, target.name) and table.target != target.name:
        raise SecateurError(f"{path}: is for target {table.target}, not for {target.name}")
