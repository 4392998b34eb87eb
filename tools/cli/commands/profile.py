"""`secateur profile`: what a model's kernels take, as a table that other commands choose by."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secateur.passes.prune.options import Space

from ...progress import Progress, progress
from ...report import print_json
from ..checks import check_outputs, check_readable, is_here
from ..common import Json, Target, refuse
from ..groups import spread
from ..profiled import bundle_data, bundle_text, table_data, table_text
from ..quantities import QUANTITIES
from ..quantized import check_float
from ..source import Settled, check_unchosen

if TYPE_CHECKING:
    from secateur.codegen.targets.target import Target as Row
    from secateur.costs.candidates import Network
    from secateur.costs.table import Table
    from secateur.ir.graph import Graph

    from ...checks.table import Check

BUDGET = "15min"
board_option = partial(typer.Option, rich_help_panel="Boards")
check_option = partial(typer.Option, rich_help_panel="Check")
count_option = partial(typer.Option, rich_help_panel="Pruning")


@dataclass(frozen=True)
class Board:
    """Ways to the costs of a target that is not this machine."""

    bundle: Annotated[
        Path | None,
        board_option(metavar="FILE.tar", help="Write executables there that time the kernels on the board."),
    ] = None
    results: Annotated[
        Path | None, board_option(metavar="FILE", help="Read what the bundle's run.sh printed on the board.")
    ] = None
    board: Annotated[
        str | None,
        board_option(metavar="NAME", help="With --results: what they were measured on."),
    ] = None
    analytic: Annotated[
        bool, board_option("--analytic", help="Measure nothing: write the cost model's estimates.")
    ] = False

    @property
    def elsewhere(self) -> bool:
        """Whether this machine has nothing to measure."""
        return self.analytic or self.bundle is not None or self.results is not None

    def check(self, output: Path | None) -> None:
        """SecateurError where options do not go together."""
        given = [f"--{name}" for name in ("bundle", "results", "analytic") if getattr(self, name)]
        if len(given) > 1:
            raise refuse(f"{' and '.join(given)}: one at a time")
        if self.board is not None and self.results is None:
            raise refuse("--board says where results were measured; give --results too")
        if self.bundle is not None and output is not None:
            raise refuse("-o names the table, and --bundle makes none: give it with --results")


@dataclass(frozen=True)
class Checking:
    """Whether the table is held against the network."""

    check: Annotated[
        bool,
        check_option(
            "--check", help="Compile by the table, run, and compare. Exit code 1 where it is far off."
        ),
    ] = False
    tolerance: Annotated[
        float, check_option(min=0.0, metavar="PERCENT", help="How far the whole network's time may be off.")
    ] = 15.0


@dataclass(frozen=True)
class Counts:
    """Whether, and how many, counts of channels are timed that pruning may keep."""

    prune: Annotated[
        bool,
        count_option(
            "--prune", help="Time also the counts of channels that pruning would weigh, for `prune --costs`."
        ),
    ] = False
    space: Annotated[
        Space | None,
        count_option(help="With --prune: as `prune --space` will take the model. Default: standard."),
    ] = None
    budget: Annotated[
        str | None,
        count_option(
            metavar="TIME",
            help=f"With --prune: build kernels for so long, such as 90s or 20min; another run goes on from "
            f"there. Default: {BUDGET}.",
        ),
    ] = None
    most: Annotated[
        int | None,
        count_option(
            min=1,
            metavar="N",
            help="With --prune and --bundle, --results or --analytic: so many kernels at other counts, those "
            "that tell most. Default: all.",
        ),
    ] = None

    @property
    def seconds(self) -> float:
        return QUANTITIES["seconds"].parse(self.budget or BUDGET, "--budget")

    def check(self, elsewhere: bool) -> None:
        """SecateurError where options do not go together."""
        given = [f"--{name}" for name in ("space", "budget", "most") if getattr(self, name) is not None]
        if given and not self.prune:
            raise refuse(f"{given[0]} is about counts of channels; give --prune too")
        if self.budget is not None and elsewhere:
            raise refuse("--budget limits what is measured here; --most limits a bundle's kernels")
        if self.most is not None and not elsewhere:
            raise refuse("--most limits a bundle's kernels; --budget limits what is measured here")
        self.seconds  # noqa: B018  (refuses what is no time)


@spread()
def profile(
    model: Annotated[Path, typer.Argument(help="An ONNX model, or IR text (.sir).")],
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The table. Default: MODEL.TARGET.json in this folder."),
    ] = None,
    target: Target = "host",
    settled: Settled,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Measure all again, also what earlier runs have measured.")
    ] = False,
    counts: Counts,
    boards: Board,
    checking: Checking,
    json: Json = False,
) -> None:
    """Measure what a model's kernels take, for --costs.

    All that selection could choose is timed, conversions of layouts too, on one thread, in rounds; with
    --prune also at fewer channels. A run that was interrupted goes on where it was. For another machine,
    --bundle and --results do it there.
    """
    _check(model, settled, target, output, boards, checking)
    counts.check(boards.elsewhere)
    path, found = output or Path(f"{model.stem}.{target}.json"), None
    from secateur.costs.table import write_table

    with progress() as show:
        show("reading", 0, 1)
        network, graph, row = _network(model, settled, target, counts, boards.elsewhere)
        if boards.bundle is not None:
            _bundle(network, boards.bundle, json, show)
            return
        table = _table(network, graph, counts, boards, fresh, show)
        write_table(table, path)
        if checking.check:
            found = _checked(graph, table, row, path, show)
    if json:
        print_json(table_data(table, path, found))
    else:
        print(table_text(table, len(network.kernels), path, found))
    if found is not None and not found.within(checking.tolerance):
        raise typer.Exit(1)


def _check(
    model: Path, settled: Settled, target: str, output: Path | None, board: Board, checking: Checking
) -> None:
    """SecateurError where the options do not go together, or a file cannot be read or written."""
    settled.check(model)
    board.check(output)
    here = is_here(target)
    if not board.elsewhere and not here:
        raise refuse(
            f"target {target} does not run here: --bundle writes what times its kernels there, --results "
            "reads what that printed, --analytic takes estimates"
        )
    if checking.check and (board.elsewhere or not here):
        raise refuse("--check runs the network on this machine, by a table that is measured here")
    check_readable(board.results)
    check_outputs(board.bundle, output)


def _network(
    model: Path, settled: Settled, target: str, counts: Counts, elsewhere: bool
) -> tuple[Network, Graph, Row]:
    """The network as it is; with the counts to be timed where that is not for this machine to say."""
    from secateur.codegen.targets.find import find
    from secateur.costs.network import at_counts, profiled

    graph, row = settled.read(model), find(target)
    check_unchosen(graph, "profiling")
    network = profiled(graph, row)
    if counts.prune:
        check_float(graph, "pruned")
        if elsewhere:
            network = at_counts(network, graph, counts.space or "standard", counts.most)
    return network, graph, row


def _bundle(network: Network, path: Path, json: bool, show: Progress) -> None:
    from secateur.costs.bundle import write_bundle

    made = write_bundle(network, path, show)
    if json:
        print_json(bundle_data(made, path))
    else:
        print(bundle_text(made, path))


def _table(
    network: Network, graph: Graph, counts: Counts, board: Board, fresh: bool, show: Progress
) -> Table:
    from secateur.costs.network import analytic_table, board_table, measured_at_counts, measured_table

    if board.results is not None:
        return board_table(network, board.results, board.board)
    if board.analytic:
        return analytic_table(network)
    if counts.prune:
        space = counts.space or "standard"
        return measured_at_counts(network, graph, space, counts.seconds, show, fresh)
    return measured_table(network, show, fresh)


def _checked(graph: Graph, table: Table, row: Row, path: Path, show: Progress) -> Check:
    from secateur.costs.measured import TableCosts

    from ...checks.table import check

    return check(graph, TableCosts(table, row, str(path)), show)
