"""`secateur prune`: a float model with fewer channels, as ONNX."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secateur.options import Pruning
from secateur.passes.quantize.calibration.preparation import NOISE

from ...pages.prune_report import check_paths, json_data, write_reports
from ...pages.prune_text import explain_text, table_text
from ...progress import progress
from ...report import print_json
from ..checks import check_apart, check_outputs, check_readable, check_target
from ..common import Costs, Json, Target, refuse
from ..groups import Given, spread
from ..inputs import Images
from ..interrupts import telling
from ..quantized import check_float
from ..source import Settled

if TYPE_CHECKING:
    from secateur.ir.graph import Graph
    from secateur.passes.prune.criteria.criterion import Gradients

SUFFIX = ".pruned.onnx"

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


@spread()
def prune_model(
    model: Annotated[Path, typer.Argument(help="A float ONNX model, or IR text (.sir).")],
    *,
    output: Output = None,
    target: Target = "host",
    settled: Settled,
    pruning: Given[Pruning],
    images: Images,
    costs: Costs = None,
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
    check_readable(costs)
    if explain:
        explain_groups(model, settled, pruning.words.get("space") == "aggressive")
        return
    path = None if dry_run else output or default_output(model)
    check_paths(report or ())
    check_outputs(path, save_kept)
    check_apart(model, path, save_kept, *(report or ()))
    asked = pruning.value(preparation=images.preparation)
    if isinstance(asked.data, str | Path):
        from secateur.passes.quantize.calibration.data import check_source

        check_source(asked.data)
    with telling(path, save_kept, *(report or ())), progress() as show:
        show("reading", 0, 1)
        graph = settled.read(model)
        check_float(graph, "pruned")
        import secateur

        slopes = gradients_on(asked, graph) if asked.criterion == "taylor" else None
        made = secateur.prune(graph, asked, path, target, costs=costs, gradients=slopes, progress=show)
        found = replace(made, model=model.name)
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
    for name, files in (("model", [path]), ("kept indices", [save_kept]), ("report", report or [])):
        for file in filter(None, files):
            print(f"{name}: {file}")


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
