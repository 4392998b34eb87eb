"""`secateur prune`: a float model with fewer channels, as ONNX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secateur.ir.errors import CheckError
from secateur.ir.support.atomic import write_whole
from secateur.ir.support.unfinished import temporary_folder
from secateur.options import Pruning
from secateur.passes.quantize.calibration.preparation import NOISE

from ...pages.prune_report import check_paths, json_data, write_reports
from ...pages.prune_text import explain_text, table_text
from ...progress import Progress, progress
from ...report import duration, print_json
from ..checks import check_apart, check_outputs, check_readable, check_target, is_here
from ..common import Costs, Json, Target, refuse
from ..groups import Given, spread
from ..inputs import Images
from ..interrupts import telling
from ..quantities import QUANTITIES
from ..quantized import check_float
from ..source import Settled

if TYPE_CHECKING:
    from secateur.ir.graph import Graph
    from secateur.passes.prune.criteria.criterion import Gradients
    from secateur.passes.prune.report import PruningReport
    from secateur.prepare import Costs as Table

SUFFIX = ".pruned.onnx"
BUDGET = "15min"
SLOWER = 1.02
"""Times of two networks that take turns differ by less than this where they are as fast."""

Output = Annotated[
    Path | None, typer.Option("--output", "-o", help=f"Default: the model's name with {SUFFIX}.")
]
Report = Annotated[
    list[Path] | None,
    typer.Option("--report", metavar="FILE", help="What went, and why: .html, .json or .csv. Repeatable."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would go, and write no model.")]
Explain = Annotated[
    bool, typer.Option("--explain", help="Only list groups of channels, and why other channels stay.")
]
SaveKept = Annotated[
    Path | None,
    typer.Option("--save-kept", metavar="FILE.json", help="Write which indices of each initializer stay."),
]


@dataclass(frozen=True)
class Timing:
    """Where times come from."""

    costs: Costs = None
    tune: Annotated[
        bool,
        typer.Option(
            "--tune",
            help="Measure what `profile --prune` does first, choose by that, and time both networks in turn.",
        ),
    ] = False
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help=f"With --tune: build kernels for so long, such as 90s or 20min; another run goes on from "
            f"there. Default: {BUDGET}.",
        ),
    ] = None
    save_costs: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json", help="With --tune: write the times measured, for `compile --costs`."
        ),
    ] = None

    @property
    def seconds(self) -> float:
        return QUANTITIES["seconds"].parse(self.budget or BUDGET, "--budget")

    def check(self, target: str) -> None:
        """SecateurError where options do not go together, or the target does not run here."""
        given = [
            name for name, value in (("--budget", self.budget), ("--save-costs", self.save_costs)) if value
        ]
        if given and not self.tune:
            raise refuse(f"{given[0]} is about times measured on this machine; give --tune too")
        if self.tune and self.costs is not None:
            raise refuse("times are measured (--tune) or taken from a table (--costs), not both")
        if self.tune and not is_here(target):
            raise refuse(
                f"--tune measures on this machine, and target {target} is another: measure there by "
                "`secateur profile --prune --bundle`, and give --costs"
            )
        check_readable(self.costs)
        self.seconds  # noqa: B018  (refuses what is no time)

    def table(self, graph: Graph, asked: Pruning, target: str, show: Progress) -> Table | None:
        """The times that are given or measured."""
        if not self.tune:
            return self.costs
        from secateur.costs.table import write_table
        from secateur.pruner import measured_costs

        found = measured_costs(graph, target, asked.space, self.seconds, show)
        if self.save_costs is not None:
            write_table(found.table, self.save_costs)
        return found


@spread()
def prune_model(
    model: Annotated[Path, typer.Argument(help="A float ONNX model, or IR text (.sir).")],
    *,
    output: Output = None,
    target: Target = "host",
    settled: Settled,
    pruning: Given[Pruning],
    images: Images,
    timing: Timing,
    report: Report = None,
    save_kept: SaveKept = None,
    dry_run: DryRun = False,
    explain: Explain = False,
    json: Json = False,
) -> None:
    """Remove the channels of a model that matter least.

    A float model becomes a smaller one, as ONNX. Give a limit: --macs, --latency, --size,
    --memory, --loss, or --max-drop with labelled data.
    """
    settled.check(model)
    check_target(target)
    timing.check(target)
    if explain:
        explain_groups(model, settled, pruning.words.get("space") == "aggressive")
        return
    path = None if dry_run else output or default_output(model)
    check_paths(report or ())
    check_outputs(path, save_kept, timing.save_costs)
    check_apart(model, path, save_kept, timing.save_costs, *(report or ()))
    asked = pruning.value(preparation=images.preparation)
    if isinstance(asked.data, str | Path):
        from secateur.passes.quantize.calibration.data import check_source

        check_source(asked.data)
    with telling(path, save_kept, timing.save_costs, *(report or ())), progress() as show:
        show("reading", 0, 1)
        graph = settled.read(model)
        check_float(graph, "pruned")
        table = timing.table(graph, asked, target, show)
        found = replace(_pruned(graph, asked, path, target, table, show, timing.tune), model=model.name)
        write_reports(found, report or ())
        if save_kept is not None:
            from secateur.passes.prune.kept import write_kept

            write_kept(found.kept, save_kept)
    if json:
        print_json({"output": None if path is None else str(path), **json_data(found)})
        return
    print(table_text(found))
    if str(asked.data).startswith(NOISE):
        print("warning: the data is noise; what matters on images may matter less there")
    _print_files(
        {
            "model": [path],
            "kept indices": [save_kept],
            "times": [timing.save_costs],
            "report": report or [],
        }
    )


def _print_files(written: Mapping[str, Sequence[Path | None]]) -> None:
    for name, files in written.items():
        for file in filter(None, files):
            print(f"{name}: {file}")


def _pruned(
    graph: Graph,
    asked: Pruning,
    path: Path | None,
    target: str,
    costs: Table | None,
    show: Progress,
    timed: bool,
) -> PruningReport:
    """What was done; the network at `path`, `timed` beside the whole one first.

    CheckError, and nothing written, where it is slower by the clock.
    """
    import secateur

    slopes = gradients_on(asked, graph) if asked.criterion == "taylor" else None
    if path is None or not timed:
        return secateur.prune(graph, asked, path, target, costs=costs, gradients=slopes, progress=show)
    with temporary_folder("secateur-prune-") as folder:
        draft = folder / path.name
        found = secateur.prune(graph, asked, draft, target, costs=costs, gradients=slopes, progress=show)
        found = replace(found, clock=_clocked((graph, draft), target, costs, show))
        write_whole(path, draft.read_bytes())
    return found


def _clocked(
    models: tuple[Graph, Path], target: str, costs: Table | None, show: Progress
) -> tuple[float, float]:
    """Seconds of both networks, which take turns; CheckError where the pruned one takes longer."""
    from ...bench.turns import model_turns

    show("timing both networks", 0, 1)
    whole, less = (turn.quiet for turn in model_turns(models, costs, target=target))
    if less > whole * SLOWER:
        raise CheckError(
            f"the pruned network takes {duration(less)} by the clock, the whole one {duration(whole)}; "
            "measure more counts (a longer --budget), or ask for less"
        )
    return whole, less


def gradients_on(asked: Pruning, graph: Graph) -> Gradients:
    """The loss's gradients on the labelled data; SecateurError where there is none, or no PyTorch."""
    if not isinstance(asked.data, str | Path):
        raise refuse("--criterion taylor differentiates the loss on labelled images; give some (--data)")
    try:
        from secateur.train.data import load
        from secateur.train.gradients import gradients
    except ImportError:
        raise refuse("--criterion taylor needs PyTorch: pip install 'secateur[train]'") from None
    return gradients(load(asked.data, graph, asked.preparation))


def explain_groups(model: Path, settled: Settled, opened: bool) -> None:
    """Prints the groups of channels of the model as it is pruned, the blocks, and why other channels stay."""
    from secateur.ir.channels import find_channels
    from secateur.passes.canonicalize.canonicalize import Canonicalize
    from secateur.passes.fuse.opening import open_sums
    from secateur.passes.prune.criteria.branches import find_branches

    graph = settled.read(model)
    check_float(graph, "pruned")
    graph = Canonicalize().run(graph)
    if opened:
        open_sums(graph)
        graph.remove_dead()
    print(explain_text(find_channels(graph), find_branches(graph)))


def default_output(model: Path) -> Path:
    """The model's name in the current folder, with `.pruned.onnx`."""
    path = Path(model.stem + SUFFIX)
    if path.resolve() == model.resolve():
        raise refuse(f"{path}: is the model itself; name the pruned one with -o")
    return path
