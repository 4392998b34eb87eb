"""A float model pruned to ONNX: fewer channels, within what it may cost."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

from .codegen.targets.find import find
from .costs.measured import TableCosts
from .costs.network import measured_at_counts, profiled
from .host_executor import HostExecutor
from .ir.errors import SecateurError
from .ir.graph import Graph
from .ir.onnx_writer import to_onnx
from .ir.support.atomic import write_whole
from .ir.support.progress import Progress, silent
from .model import Model, graph_of
from .options import Inputs, Pruning
from .passes.canonicalize.canonicalize import Canonicalize
from .passes.framework.manager import PassManager
from .passes.prune.criteria.criterion import Gradients
from .passes.prune.linear.moments import Data
from .passes.prune.options import Recipe, Space
from .passes.prune.prune import Prune
from .passes.prune.report import PruningReport
from .passes.prune.search import Material
from .passes.quantize.calibration.data import open_source
from .prepare import Costs, cost_table


def prune(
    model: Model,
    pruning: Pruning,
    output: str | Path | None = None,
    target: str = "host",
    *,
    inputs: Inputs = Inputs(),
    costs: Costs | None = None,
    tune: float | None = None,
    gradients: Gradients | None = None,
    progress: Progress = silent,
) -> PruningReport:
    """Prunes a float `model` for `target`, and writes it to `output` as ONNX.

    Times are those of the target's cost model, or of the table `costs`, or with `tune` measured on this
    machine, where kernels at other counts are built for so many seconds at most (see `measured_costs`).
    `gradients` are for the criterion taylor, as `secateur.train.gradients` makes them. Without `output`
    nothing is written.

    Raises SecateurError for anything wrong with the request or the model, where nothing can be pruned, and
    where a limit cannot be kept; its subclass CheckError where accuracy falls by more than is allowed.
    """
    row = find(target)
    graph = graph_of(model, inputs)
    if tune is not None:
        if costs is not None:
            raise SecateurError("times are measured (tune) or taken from a table (costs), not both")
        costs = measured_costs(graph, target, pruning.space, tune, progress)
    reports: list[PruningReport] = []
    step = Prune(
        **{f.name: getattr(pruning, f.name) for f in fields(Recipe)},
        material=replace(material(pruning, graph, progress), gradients=gradients),
        costs=cost_table(row, costs=costs),
        listen=reports.append,
    )
    pruned = PassManager((Canonicalize(share=False), step)).run(graph).graph
    if output is not None:
        write_whole(Path(output), to_onnx(pruned).SerializeToString(deterministic=True))
    return replace(reports[0], target=row.name)


def measured_costs(
    graph: Graph, target: str, space: Space, seconds: float, progress: Progress = silent
) -> TableCosts:
    """Times of the kernels of `graph`, and of those that pruning it in this space would weigh.

    They are measured on this machine and kept in the cache. Kernels at other counts are built for `seconds`,
    those first that tell most; another call goes on from there. SecateurError where the target does not run
    here, or nothing can be pruned.
    """
    row = find(target)
    network = profiled(graph, row)
    table = measured_at_counts(network, graph, space, seconds, progress)
    return TableCosts(table, row, "the times measured here")


def material(pruning: Pruning, graph: Graph, progress: Progress = silent) -> Material:
    """The images for `graph`; SecateurError where there are none or they do not fit it."""
    if pruning.data is None:
        return Material(Data(progress=progress))
    try:
        shown = open_source(pruning.data, graph, pruning.preparation, pruning.images)
        every = open_source(pruning.data, graph, pruning.preparation)
    except OSError as error:
        raise SecateurError(f"data {pruning.data}: {error.strerror or error}") from None
    return Material(Data(tuple(shown), HostExecutor(), progress), every.labelled)
