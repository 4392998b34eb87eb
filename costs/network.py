"""A network's cost table: measured on this machine, read from a board's results, or estimated."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path

from secateur.codegen.backends.registry import backend_of
from secateur.codegen.targets.host import check_here
from secateur.codegen.targets.target import Target
from secateur.ir.graph import Graph
from secateur.ir.support.progress import Progress
from secateur.passes.framework.manager import PassManager
from secateur.passes.framework.pipeline import parse_pipeline
from secateur.passes.select.select import Select

from .candidates import Network, network_of
from .measure import measured
from .results import read_results
from .samples import distance_of, processor
from .table import ANALYTIC, Table, estimated, table_of


def profiled(graph: Graph, target: Target) -> Network:
    """What selection asks of a cost table when the default pipeline compiles `graph` for `target`."""
    passes = takewhile(lambda step: not isinstance(step, Select), parse_pipeline(backend_of(target).pipeline))
    return network_of(PassManager(tuple(passes)).run(graph).graph, target)


def measured_table(network: Network, progress: Progress, fresh: bool = False) -> Table:
    """Measured now or, without `fresh`, by earlier runs too; SecateurError where the target is no host."""
    check_here(network.target)
    distance = distance_of(network.weight_bytes)
    timings = measured(network.kernels, network.target, distance, progress, fresh)
    return table_of(network.target, f"host: {processor()}", network.kernels, timings)


def board_table(network: Network, results: Path, board: str | None) -> Table:
    """Of what a bundle printed on the board called so; kernels that were too large for it are missing."""
    timings = read_results(results, network)
    known = [c for c in network.kernels if c.symbol in timings]
    return table_of(network.target, f"board: {board or network.target.name}", known, timings)


def analytic_table(network: Network) -> Table:
    """The estimates of the target's cost model."""
    return table_of(network.target, ANALYTIC, network.kernels, estimated(network.kernels))
