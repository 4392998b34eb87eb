"""The tour in one command: compile a trained network in fp32, int8, and pruned and int8; run all on images it
never saw.

    python -m secateur.tools.demo [--output build/demo]

Needs a checkout of the repository (`examples/digits`). Everything is compared
with ONNX Runtime where that is installed. Exit code 1 where a prediction of the
fp32 network differs from its, an accuracy is below 98 %, int8 loses more
than 0.3 points, or pruning and int8 more than 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from secateur.options import Int8, Pruning, Watch

from .checks.layers import has_onnxruntime
from .examples import EXAMPLES, example
from .pages.prune_text import verdict
from .progress import progress
from .report import duration, size
from .tables import table

if TYPE_CHECKING:
    from secateur import Artifact

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = EXAMPLES / "digits"
MODEL = "resnet20.onnx"
ACCURACY = 0.98
LARGEST_DROP = 0.003
LARGEST_DROP_PRUNED = 0.01
MACS = 0.5
PRUNED_ON = 64  # images
SHOWN = (("before", "*-canonicalize.sir", 10), ("after", "*-fuse.sir", 3))  # as many as make the block
WIDTH = 110

Floats = NDArray[np.float32]
Network = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Measured:
    """What a network did on the images: logits [N, 10], seconds of each run, bytes to deploy."""

    name: str
    logits: Floats
    seconds: Sequence[float]
    bytes: int
    parts: str

    @property
    def labels(self) -> NDArray[np.int64]:
        classes: NDArray[np.int64] = np.argmax(self.logits, axis=1)
        return classes


def example_module() -> ModuleType:
    """`examples/digits/data.py`; SystemExit where there is no checkout."""
    if not (EXAMPLE / "data.py").exists() or not (EXAMPLE / MODEL).exists():
        raise SystemExit(f"error: {EXAMPLE} is missing; the demo runs from a checkout of the repository")
    return example("digits")


def compile_example(
    path: Path, quantize: Int8 | None = None, dump_ir: Path | None = None, model: Path | None = None
) -> Artifact:
    """Compiles the example (or a `model` made of it) to `path` and says how long it took."""
    import secateur

    start = time.monotonic()
    with progress() as show:
        artifact = secateur.compile(
            model or EXAMPLE / MODEL, path, quantize=quantize, watch=Watch(progress=show, dump_ir=dump_ir)
        )
    first, last = artifact.outcome.records[0], artifact.outcome.records[-1]
    print(
        f"compiled {model.name if model else f'{EXAMPLE.name}/{MODEL}'} in {time.monotonic() - start:.1f} s: "
        f"{first.operators_before} operators became {last.operators_after}"
    )
    return artifact


def quantize_example(path: Path, images: Floats) -> Artifact:
    """Compiles the example to int8, calibrated on `images` of the training split, and says what that did."""
    print(f"\nNow in int8, with ranges chosen on {len(images)} images of the training split:")
    artifact = compile_example(path, Int8(batches_of(images), layers="all"))
    integer = [op for op in artifact.graph.operators if any(v.type.quant is not None for v in op.operands)]
    winograd = sum(op.name == "prim.winograd_conv" for op in integer)
    print(f"{len(integer)} operators compute on bytes, {winograd} of them Winograd convolutions")
    return artifact


def batches_of(images: Floats) -> list[dict[str, Floats]]:
    """An image at a time, as the network takes them."""
    return [{"image": image[None]} for image in images]


def prune_example(folder: Path, images: Floats) -> Path:
    """Prunes the example on `images`, without training, and compiles what is left to int8; the artifact."""
    import secateur

    share = f"{MACS:.0%}"
    print(f"\nNow pruned to {share} of its multiplications, on {PRUNED_ON} images and without training:")
    model = folder / "resnet20-pruned.onnx"
    shown = images[:: max(1, len(images) // PRUNED_ON)][:PRUNED_ON]
    with progress() as show:
        pruning = Pruning(macs=MACS, data=batches_of(shown))
        report = secateur.prune(EXAMPLE / MODEL, pruning, model, progress=show)
    print(verdict(report))
    quantize = Int8(batches_of(images), layers="all")
    return compile_example(folder / "resnet20-pruned-int8.so", quantize, model=model).path


def excerpt(path: Path, count: int) -> str:
    """The first operators of an IR file without constants and locations, wrapped to the screen."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.lstrip().startswith("%")]
    operators = [line for line in lines if " = nn.constant(" not in line.partition("{")[0]]
    wrapped = [
        line
        for operator in operators[:count]
        for line in textwrap.wrap(
            operator.partition(" loc(")[0].strip(), WIDTH, initial_indent="  ", subsequent_indent="      "
        )
    ]
    return "\n".join([*wrapped, f"  ... {len(operators)} operators in all"])


def show_fusion(folder: Path) -> None:
    """Prints the IR of the first residual block before and after fusion."""
    for title, pattern, count in SHOWN:
        (path,) = folder.glob(pattern)
        print(f"\nIR {title} fusion, up to the first residual block ({path.name}):\n{excerpt(path, count)}")


def measure(networks: Sequence[Network], images: Floats) -> list[tuple[Floats, list[float]]]:
    """Logits and seconds of every network on every image, taking turns image by image."""
    for network in networks:
        network(images[:1])
    logits: list[list[Floats]] = [[] for _ in networks]
    seconds: list[list[float]] = [[] for _ in networks]
    for image in images:
        for index, network in enumerate(networks):
            start = time.perf_counter()
            logits[index].append(network(image[None]))
            seconds[index].append(time.perf_counter() - start)
    return [(np.concatenate(rows), times) for rows, times in zip(logits, seconds, strict=True)]


def onnxruntime_network() -> Network:
    """The example in ONNX Runtime, one thread, every optimization on."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(EXAMPLE / MODEL, options, providers=["CPUExecutionProvider"])
    return lambda image: session.run(["logits"], {"image": image})[0]


def onnxruntime_bytes() -> int:
    """Bytes of ONNX Runtime's shared libraries."""
    spec = importlib.util.find_spec("onnxruntime")
    folders = spec.submodule_search_locations if spec else None
    return sum(f.stat().st_size for folder in folders or () for f in Path(folder).rglob("*.so*"))


def artifact_network(path: Path, opened: ExitStack) -> Network:
    """An artifact on one thread, until `opened` is closed."""
    import secateur

    session = opened.enter_context(secateur.load(path))
    return lambda image: session.run({"image": image})["logits"]


def run_networks(artifacts: Mapping[str, Path], images: Floats) -> list[Measured]:
    """The measurements of the artifacts by name, then those of ONNX Runtime where it is installed."""
    with ExitStack() as opened:
        networks = [artifact_network(path, opened) for path in artifacts.values()]
        found = measure([*networks, *([onnxruntime_network()] if has_onnxruntime() else [])], images)
    rows = [
        Measured(name, *results, path.stat().st_size, f"{path.name}, needs libc alone")
        for (name, path), results in zip(artifacts.items(), found, strict=False)
    ]
    if has_onnxruntime():
        model, runtime = (EXAMPLE / MODEL).stat().st_size, onnxruntime_bytes()
        parts = f"model {size(model)}, runtime {size(runtime)}"
        rows.append(Measured("onnxruntime fp32", *found[-1], model + runtime, parts))
    return rows


def print_results(rows: Sequence[Measured], labels: NDArray[np.int64]) -> None:
    """The table of accuracy, latency and size."""
    cells = [
        (
            row.name,
            f"{accuracy(row, labels):.2%} ({np.sum(row.labels == labels)}/{len(labels)})",
            duration(median(row.seconds)),
            size(row.bytes),
            row.parts,
        )
        for row in rows
    ]
    print(f"\n{len(labels)} held-out images, one at a time, one thread:")
    print(table(("", "accuracy", "median latency", "size", ""), cells, right=("median latency", "size")))


def accuracy(row: Measured, labels: NDArray[np.int64]) -> float:
    """The share of images, 0 to 1, whose label was found."""
    return float(np.mean(row.labels == labels))


def faults(
    real: Measured,
    smaller: Sequence[tuple[Measured, float]],
    peer: Measured | None,
    labels: NDArray[np.int64],
) -> list[str]:
    """What is wrong with the results, as sentences; `smaller` has networks, and what each may lose."""
    found = []
    if peer is not None and np.any(real.labels != peer.labels):
        found.append(f"{np.sum(real.labels != peer.labels)} predictions differ from {peer.name}'s")
    for row in (real, *(row for row, _ in smaller)):
        if accuracy(row, labels) < ACCURACY:
            found.append(f"{row.name}: accuracy {accuracy(row, labels):.2%} is below {ACCURACY:.0%}")
    for row, most in smaller:
        drop = accuracy(real, labels) - accuracy(row, labels)
        if drop > most:
            found.append(f"{row.name} loses {100 * drop:.2f} points of accuracy, more than {100 * most:g}")
    return found


def compare(real: Measured, smaller: Sequence[Measured], peer: Measured | None) -> None:
    """Prints how far logits lie apart, and what int8 and pruning gained."""
    if peer is not None:
        difference = np.abs(real.logits - peer.logits).max()
        print(f"largest difference of an fp32 logit from ONNX Runtime's: {difference:.2g}")
    for row in smaller:
        noise = np.square(row.logits - real.logits, dtype=np.float64).sum()
        signal = np.square(real.logits, dtype=np.float64).sum()
        gain = median(real.seconds) / median(row.seconds)
        decibels = 10 * np.log10(signal / noise)
        print(f"{row.name} against fp32: {gain:.2f}x the speed, logits at {decibels:.1f} dB SQNR")


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit code."""
    parser = argparse.ArgumentParser(prog="secateur.tools.demo", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "demo", help="where everything goes")
    folder: Path = parser.parse_args(arguments).output
    data: Any = example_module()
    folder.mkdir(parents=True, exist_ok=True)
    real = compile_example(folder / "resnet20.so", dump_ir=folder / "ir").path
    show_fusion(folder / "ir")
    calibration = data.network_input(data.load_calibration().images)
    quantized = quantize_example(folder / "resnet20-int8.so", calibration).path
    pruned = prune_example(folder, calibration)
    digits = data.load_heldout()
    networks = {"secateur fp32": real, "secateur int8": quantized, "secateur int8, pruned": pruned}
    rows = run_networks(networks, data.network_input(digits.images))
    print_results(rows, digits.labels)
    first, int8, least, *peers = rows
    peer = peers[0] if peers else None
    compare(first, (int8, least), peer)
    print(
        f"\nartifacts: {real}, {quantized.name} and {pruned.name}\n"
        f"IR after each pass, kernels as TIR, LLVM IR and assembly: {folder / 'ir'}"
    )
    smaller = ((int8, LARGEST_DROP), (least, LARGEST_DROP_PRUNED))
    wrong = faults(first, smaller, peer, digits.labels)
    for fault in wrong:
        print(f"error: {fault}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
