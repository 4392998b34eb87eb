"""The passes of a pipeline, handed what they need: costs and calibration data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from .codegen.backends.registry import backend_of
from .codegen.targets.host import check_here
from .codegen.targets.target import Target
from .costs.measured import TableCosts, table_costs
from .costs.tuning import MeasuredCosts
from .ir.choice import CostTable, Storage
from .ir.errors import SecateurError
from .passes.framework.base import Pass
from .passes.framework.pipeline import parse_pipeline
from .passes.half.half import Half
from .passes.half.report import Listener as HalfListener
from .passes.half.report import ignored as half_ignored
from .passes.prune.linear.moments import Data
from .passes.prune.prune import Prune
from .passes.prune.search import Material
from .passes.quantize.calibrate import CalibrationData
from .passes.quantize.quantize import Listener, Quantize, ignored
from .passes.select.select import Select

Costs = CostTable | str | Path
"""A table of times, or its file, which `secateur profile` writes."""

MOST_BATCHES = 256
"""Of calibration data that pruning looks at."""


def prepare(
    pipeline: str,
    target: Target,
    tune: bool = False,
    data: CalibrationData | None = None,
    listen: Listener = ignored,
    costs: Costs | None = None,
    listen_half: HalfListener = half_ignored,
) -> tuple[Pass, ...]:
    """The passes of a pipeline's text; those that ask for costs or calibration data are handed them."""
    table = cost_table(target, tune, costs)
    storage = backend_of(target).storage(target)
    steps = (_equipped(p, table, storage, data, listen) for p in parse_pipeline(pipeline))
    return tuple(replace(p, data=data, listen=listen_half) if isinstance(p, Half) else p for p in steps)


def _equipped(
    step: Pass, costs: CostTable, storage: Storage | None, data: CalibrationData | None, listen: Listener
) -> Pass:
    if isinstance(step, Quantize):
        return replace(step, costs=costs, data=data, listen=listen)
    if isinstance(step, Prune):
        return replace(step, costs=costs, material=Material() if data is None else _material(data))
    return replace(step, costs=costs, storage=storage) if isinstance(step, Select) else step


def _material(data: CalibrationData) -> Material:
    """Calibration data as pruning reads it: several times."""
    batches = tuple(islice(data.batches, MOST_BATCHES))
    return Material(Data(batches, data.execute, data.progress), data.labelled)


def cost_table(target: Target, tune: bool = False, costs: Costs | None = None) -> CostTable:
    """Estimates for `target`; with `tune` times measured on this machine, or those of the table `costs`.

    SecateurError where the two are asked for together, or cannot be had for this target.
    """
    if tune and costs is not None:
        raise SecateurError("times are measured (tune) or taken from a table (costs), not both")
    if isinstance(costs, str | Path):
        return table_costs(Path(costs), target)
    if tune:
        check_here(target)
        return MeasuredCosts(target)
    return costs or backend_of(target).costs(target)


def warn_of_estimates(passes: Sequence[Pass]) -> None:
    """A warning where operators were selected by a table that does not know them all."""
    for step in passes:
        if isinstance(step, Select) and isinstance(step.costs, TableCosts):
            step.costs.warn()
