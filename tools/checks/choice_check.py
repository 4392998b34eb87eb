"""Whether estimates choose as llvm-mca would, for every convolution of the benchmark's networks on a board.

Each way to compute a layer is compiled as a static executable and run under qemu-user, whose plugin says
how often every block of its code is executed; llvm-mca says what a block takes on the board's core. It knows
no caches: weights that have no room in the second-level cache stream from memory at the target's rate,
and take what streams or what is computed, the longer, and three tenths of the other, as in the estimates.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any

import typer

from secateur.calibration import range_data
from secateur.codegen.backends.registry import backend_of
from secateur.codegen.targets.find import find
from secateur.codegen.targets.target import Target
from secateur.costs.bundle import executable, parts_of
from secateur.costs.candidates import Candidate, of_choice, unique
from secateur.costs.timing import TimingProgram, weight_bytes
from secateur.ir.choice import Choice
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Operator
from secateur.ir.support.atomic import write_whole
from secateur.ir.support.progress import silent
from secateur.ir.support.unfinished import temporary_folder
from secateur.model import graph_of
from secateur.options import Ends, Inputs, Limits
from secateur.passes.framework.manager import PassManager
from secateur.passes.quantize.maker import chooser
from secateur.passes.quantize.maker import prepare as prepare_float
from secateur.passes.quantize.options import Options
from secateur.passes.select.select import Select
from secateur.pipeline import pipeline_of
from secateur.prepare import cost_table, prepare

from ..bench import data
from ..bench.arm.blocks import Blocks, executed
from ..bench.arm.builds import PRECISIONS, samples
from ..tables import shortened, table
from .core_cycles import Core

TARGETS = {
    "rpi3": "cortex-a53", "rpi4": "cortex-a72", "jetson-nano-cpu": "cortex-a57", "rpi5": "cortex-a76",
    "jetson-tx2-cpu": "cortex-a57", "jetson-orin-cpu": "cortex-a76",
}  # fmt: skip
"""Boards, and what qemu calls their cores (or one with the same instructions)."""
NETWORKS = ("resnet18", "mobilenet-v2", "squeezenet1.1")
CONVOLUTIONS = ("nn.conv", "q.linear_conv")
EQUAL = 1.02  # times the fastest by llvm-mca is as fast,
NEAR = 1.05  # and near, where it is hardly surer: two of its models that stand for one core differ by more
_OVERLAP = 0.3
_ONCE = ("--threads", "1", "--warmup", "0", "--iterations", "1", "--json")


@dataclass(frozen=True)
class Way:
    """A primitive of a layer: cycles by the estimate, of the core by llvm-mca, and of weights that stream."""

    primitive: str
    estimated: float
    core: float
    memory: float

    @property
    def simulated(self) -> float:
        longer, shorter = max(self.core, self.memory), min(self.core, self.memory)
        return longer + _OVERLAP * shorter


@dataclass(frozen=True)
class Layer:
    """A convolution and its ways, each primitive's fastest by the estimate."""

    label: str
    shape: str
    ways: tuple[Way, ...]

    @property
    def chosen(self) -> Way:
        return min(self.ways, key=lambda way: way.estimated)

    @property
    def best(self) -> Way:
        return min(self.ways, key=lambda way: way.simulated)

    @property
    def loss(self) -> float:
        """Simulated cycles of the chosen by those of the best."""
        return self.chosen.simulated / self.best.simulated

    @property
    def right(self) -> bool:
        return self.loss <= EQUAL


def fused(network: str, target: Target, precision: str, folder: Path) -> Graph:
    """The graph of which selection chooses primitives for `target`."""
    path = data.network(network, folder)
    graph = graph_of(path, Inputs())
    if precision == "int8":
        return _in_bytes(graph, target)
    half = PRECISIONS[precision](samples(network, path, 2)).get("precision")
    known = range_data(half, graph, silent) if half else None
    passes = prepare(pipeline_of(graph, target, None, Limits(), None, Ends(), half), target, data=known)
    before = takewhile(lambda step: not isinstance(step, Select), passes)
    return PassManager(tuple(before)).run(graph).graph


def _in_bytes(graph: Graph, target: Target) -> Graph:
    """With made-up ranges, as estimates depend on types and shapes; every tile that is estimated to pay."""
    options = Options(layers="all")
    real = prepare_float(PassManager(prepare("canonicalize,fuse", target)).run(graph).graph, options)
    found = chooser(real, cost_table(target), options)
    return found.integer(found.given)


def ways_of(op: Operator, target: Target, within: float) -> list[tuple[Choice, Candidate]]:
    """Each primitive's fastest choice for `op`, of those estimated `within` times the fastest of all."""
    fastest = dict[str, Choice]()
    for choice in sorted(backend_of(target).costs(target).choices(op), key=lambda c: c.seconds):
        fastest.setdefault(choice.primitive, choice)
    least = min(choice.seconds for choice in fastest.values())
    kept = [choice for choice in fastest.values() if choice.seconds <= within * least]
    pairs = ((choice, of_choice(op, choice, target)) for choice in kept)
    return [(choice, candidate) for choice, candidate in pairs if candidate is not None]


def layers_of(graph: Graph, target: Target, within: float) -> list[Layer]:
    """The convolutions, of equal shapes one: what follows the sums chooses nothing."""
    shapes = {_shape(op): op for op in reversed(graph.operators) if op.name in CONVOLUTIONS}
    found = [(op, ways_of(op, target, within)) for op in reversed(shapes.values())]
    kernels = unique(candidate for _, ways in found for _, candidate in ways)
    cycles = simulated_cycles(kernels, target)
    layers = (_layer(op, ways, cycles, target) for op, ways in found)
    return [layer for layer in layers if layer.ways]


def _shape(op: Operator) -> str:
    """Image, filters, strides and groups."""
    image, filters = op.operands[0].type.shape, op.operands[1].type.shape
    sizes = f"{'x'.join(map(str, image[1:]))}, {'x'.join(map(str, filters))}"
    stride: int = op["strides"][0]
    groups: int = op["groups"]
    return sizes + f" /{stride}" * (stride > 1) + f" in {groups}" * (groups > 1)


def _layer(
    op: Operator, ways: Sequence[tuple[Choice, Candidate]], cycles: Mapping[str, float], target: Target
) -> Layer:
    made = [
        _way(choice, candidate, cycles[candidate.symbol], target)
        for choice, candidate in ways
        if candidate.symbol in cycles
    ]
    return Layer(op.loc or op.name, _shape(op), tuple(made))


def _way(choice: Choice, candidate: Candidate, core: float, target: Target) -> Way:
    hertz, weights = target.clock_ghz * 1e9, weight_bytes(candidate.stages())
    far = weights > target.l2_bytes / 2
    memory = weights / (target.far_gbps(weights) * 1e9) * hertz if far else 0.0
    return Way(choice.primitive, choice.seconds * hertz, core, memory)


def simulated_cycles(candidates: Sequence[Candidate], target: Target) -> dict[str, float]:
    """Of the target's core, by a candidate's symbol; none of those that no executable holds."""
    core, found = Core(target), dict[str, float]()
    for part in parts_of(candidates, target, silent):
        for candidate, run in zip(part.candidates, _runs(part), strict=True):
            (found[candidate.symbol],) = core.cycles([run])
    return found


def _runs(part: TimingProgram) -> Iterator[Blocks]:
    """The blocks that each candidate executes."""
    with temporary_folder("secateur-choices-") as folder:
        program = folder / "bench"
        program.write_bytes(executable(part.program("choices")))
        program.chmod(0o755)
        marks, told = executed([program, *_ONCE], TARGETS[part.target.name])
    operators = json.loads(told)["operators"]
    timed = marks[-2 * len(operators) - 1 :]
    for rows in part.rows:
        blocks: dict[Any, int] = {}
        for row in rows:
            for block, count in timed[2 * row + 1].items():
                blocks[block] = blocks.get(block, 0) + count
        yield blocks


_COLUMNS = ("layer", "image, filters", "chosen", "cycles", "by llvm-mca", "best", "by llvm-mca", "loss")


def text_of(title: str, layers: Sequence[Layer]) -> str:
    """A table of the layers in which the choice is not the best, under a line that counts the others."""
    wrong = [layer for layer in layers if not layer.right]
    head = f"{title}: {len(layers) - len(wrong)} of {len(layers)} layers are computed by the best way"
    near = sum(layer.loss <= NEAR for layer in layers)
    head += f", {near} by one within {NEAR - 1:.0%} of it" * bool(wrong)
    return f"{head}\n{table(_COLUMNS, map(_cells, wrong), right=_COLUMNS[3:])}\n" if wrong else f"{head}\n"


def _cells(layer: Layer) -> list[object]:
    chosen, best = layer.chosen, layer.best
    thousands = [f"{cycles / 1e3:.0f}" for cycles in (chosen.estimated, chosen.simulated, best.simulated)]
    name = shortened(layer.label.split("+")[0], 24)
    row = [name, layer.shape, chosen.primitive, *thousands[:2], best.primitive, thousands[2]]
    return [*row, f"{layer.loss:.2f}"]


def main(
    targets: Annotated[str, typer.Option(help="Boards, with commas.")] = ",".join(TARGETS),
    networks: Annotated[str, typer.Option(help="With commas.")] = ",".join(NETWORKS),
    precisions: Annotated[str, typer.Option(help="With commas.")] = "fp32,int8",
    within: Annotated[float, typer.Option(help="Times the best estimate that a way may take.")] = 2.0,
    out: Annotated[Path, typer.Option(help="Folder of models and of the result.")] = Path("build/choices"),
) -> None:
    """Hold what estimates choose against llvm-mca."""
    out.mkdir(parents=True, exist_ok=True)
    found = dict[str, list[dict[str, Any]]]()
    try:
        for target in map(find, targets.split(",")):
            for precision in precisions.split(","):
                for network in networks.split(","):
                    title = f"{target.name} {precision} {network}"
                    layers = layers_of(fused(network, target, precision, out), target, within)
                    print(text_of(title, layers), flush=True)
                    found[title] = [asdict(layer) for layer in layers]
                    write_whole(out / "choices.json", (json.dumps(found, indent=1) + "\n").encode())
    except SecateurError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    typer.run(main)
