"""A network's cost table: measured on this machine, read from a board's results, or estimated."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from secateur.codegen.backends.registry import backend_of
from secateur.codegen.targets.host import check_here
from secateur.codegen.targets.target import Target
from secateur.ir.graph import Graph
from secateur.ir.support.progress import Progress
from secateur.passes.framework.manager import PassManager
from secateur.passes.framework.pipeline import parse_pipeline
from secateur.passes.prune.options import Space
from secateur.passes.select.select import Select

from . import counts
from .candidates import Network, network_of
from .measure import built_within, measured, together
from .measured import TableCosts
from .results import read_results
from .samples import distance_of, processor
from .table import ANALYTIC, Table, estimated, table_of

ASKED = 4
"""How often pruning is asked which counts it would have measured."""


def profiled(graph: Graph, target: Target) -> Network:
    """What selection asks of a cost table when the default pipeline compiles `graph` for `target`."""
    passes = takewhile(lambda step: not isinstance(step, Select), parse_pipeline(backend_of(target).pipeline))
    return network_of(PassManager(tuple(passes)).run(graph).graph, target)


def at_counts(network: Network, graph: Graph, space: Space, most: int | None = None) -> Network:
    """The network with what pruning asks beyond it, by estimates alone; of that `most`, that tell most."""
    costs = backend_of(network.target).costs(network.target)
    others = counts.at_counts(graph, network.target, network.kernels, costs, space)
    return replace(network, kernels=(*network.kernels, *others[:most]))


def measured_table(network: Network, progress: Progress, fresh: bool = False) -> Table:
    """Measured now or, without `fresh`, by earlier runs too; SecateurError where the target is no host."""
    check_here(network.target)
    distance = distance_of(network.weight_bytes)
    timings = measured(network.kernels, network.target, distance, progress, fresh)
    return table_of(network.target, f"host: {processor()}", network.kernels, timings)


def measured_at_counts(
    network: Network, graph: Graph, space: Space, budget: float, progress: Progress, fresh: bool = False
) -> Table:
    """The network's table with times at counts of channels that pruning may keep.

    Pruning is asked by the times of the network itself, then by what has been measured so far, until the ways
    that seem best have times of their own. Kernels are built for `budget` seconds altogether, those first
    that tell most; after each asking all are timed in turn, those of the network again. What an earlier run
    has built is not built again.
    """
    target, kernels = network.target, network.kernels
    table, end = measured_table(network, progress, fresh), time.monotonic() + budget
    for asked in range(ASKED):
        progress("counts asked for", asked, ASKED)
        others = counts.at_counts(graph, target, kernels, TableCosts(table, target), space)
        built = built_within(others, target, end - time.monotonic(), progress)
        if not built:
            break
        kernels = (*kernels, *built)
        timings = together(kernels, target, distance_of(network.weight_bytes), progress, fresh)
        table = table_of(target, f"host: {processor()}", kernels, timings)
    return table


def board_table(network: Network, results: Path, board: str | None) -> Table:
    """Of what a bundle printed on the board called so; kernels that were too large for it are missing."""
    timings = read_results(results, network)
    known = [c for c in network.kernels if c.symbol in timings]
    return table_of(network.target, f"board: {board or network.target.name}", known, timings)


def analytic_table(network: Network) -> Table:
    """The estimates of the target's cost model."""
    return table_of(network.target, ANALYTIC, network.kernels, estimated(network.kernels))
