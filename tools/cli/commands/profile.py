"""`secateur profile`: what a model's kernels take, as a table that other commands choose by."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...progress import Progress, progress
from ...report import print_json
from ..checks import check_outputs, check_readable, is_here
from ..common import Json, Target, refuse
from ..groups import spread
from ..profiled import bundle_data, bundle_text, table_data, table_text
from ..source import Settled, check_unchosen

if TYPE_CHECKING:
    from secateur.codegen.targets.target import Target as Row
    from secateur.costs.candidates import Network
    from secateur.costs.table import Table
    from secateur.ir.graph import Graph

    from ...checks.table import Check

board_option = partial(typer.Option, rich_help_panel="Boards")
check_option = partial(typer.Option, rich_help_panel="Check")


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
    boards: Board,
    checking: Checking,
    json: Json = False,
) -> None:
    """Measure what a model's kernels take, for --costs.

    All that selection could choose is timed, conversions of layouts too, on one thread, in rounds. A run
    that was interrupted goes on where it was. For another machine, --bundle and --results do it there.
    """
    _check(model, settled, target, output, boards, checking)
    path, found = output or Path(f"{model.stem}.{target}.json"), None
    with progress() as show:
        show("reading", 0, 1)
        network, graph, row = _network(model, settled, target)
        if boards.bundle is not None:
            _bundle(network, boards.bundle, json, show)
            return
        table = _table(network, boards, fresh, path, show)
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


def _network(model: Path, settled: Settled, target: str) -> tuple[Network, Graph, Row]:
    from secateur.codegen.targets.find import find
    from secateur.costs.network import profiled

    graph, row = settled.read(model), find(target)
    check_unchosen(graph, "profiling")
    return profiled(graph, row), graph, row


def _bundle(network: Network, path: Path, json: bool, show: Progress) -> None:
    from secateur.costs.bundle import write_bundle

    made = write_bundle(network, path, show)
    if json:
        print_json(bundle_data(made, path))
    else:
        print(bundle_text(made, path))


def _table(network: Network, board: Board, fresh: bool, path: Path, show: Progress) -> Table:
    """The table, which has been written to `path`."""
    from secateur.costs.network import analytic_table, board_table, measured_table
    from secateur.costs.table import write_table

    if board.results is not None:
        table = board_table(network, board.results, board.board)
    elif board.analytic:
        table = analytic_table(network)
    else:
        table = measured_table(network, show, fresh)
    write_table(table, path)
    return table


def _checked(graph: Graph, table: Table, row: Row, path: Path, show: Progress) -> Check:
    from secateur.costs.measured import TableCosts

    from ...checks.table import check

    return check(graph, TableCosts(table, row, str(path)), show)
