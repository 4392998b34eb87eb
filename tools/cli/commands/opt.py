"""`secateur opt`: passes on IR text."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..checks import check_outputs, check_pipeline, check_target
from ..common import Target
from ..groups import spread
from ..source import Settled

if TYPE_CHECKING:
    from secateur.ir.graph import Graph


Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="The text's file, large constants beside it; or an .onnx file. Default: stdout.",
    ),
]
Explained = Annotated[
    str | None, typer.Option(metavar="RULE", help="Say on stderr where this rule did not fire, and why.")
]


@spread()
def opt(
    file: Annotated[Path, typer.Argument(help="IR text (.sir), or an ONNX model.")],
    *,
    pipeline: Annotated[str, typer.Option(metavar="TEXT", help="Passes to run; none by default.")] = "",
    output: Output = None,
    explain: Explained = None,
    target: Target = "host",
    settled: Settled,
) -> None:
    """Run passes on IR text; print what they give, or write it as ONNX."""
    settled.check(file)
    check_target(target)
    check_pipeline(pipeline or None)
    check_outputs(output)
    graph = optimized(settled.read(file), pipeline, target, explain)
    _write(graph, output)


def _write(graph: Graph, output: Path | None) -> None:
    from secateur.ir.files import write_graph
    from secateur.ir.printer import print_graph

    if output is None:
        sys.stdout.write(print_graph(graph)[0])
    elif output.suffix == ".onnx":
        _write_onnx(graph, output)
    else:
        write_graph(graph, output)


def _write_onnx(graph: Graph, path: Path) -> None:
    """A file already there is replaced whole or not at all."""
    from secateur.ir.onnx_writer import to_onnx
    from secateur.ir.support.atomic import write_whole

    write_whole(path, to_onnx(graph).SerializeToString(deterministic=True))


def optimized(graph: Graph, pipeline: str, target: str, explained: str | None) -> Graph:
    """The graph after the passes; what a rule refused goes to stderr."""
    from secateur.codegen.targets.find import find
    from secateur.ir.rewrite import explain
    from secateur.ir.verifier import verify
    from secateur.passes.framework.manager import PassManager
    from secateur.passes.registry import check_rule
    from secateur.prepare import prepare

    if explained is not None:
        check_rule(explained)
    verify(graph)
    passes = prepare(pipeline, find(target)) if pipeline else ()
    with explain(explained) if explained else nullcontext() as explanation:
        graph = PassManager(passes).run(graph).graph
    if explanation is not None:
        print(explanation.report(graph), file=sys.stderr)
    return graph
