"""The tour in one command: compile a trained network, look at its IR, run it on images it never saw.

    python -m secateur.tools.demo [--output build/demo]

Needs a checkout of the repository (`examples/digits`). Everything is compared
with ONNX Runtime where that is installed. Exit code 1 where a prediction
differs from its, or the accuracy is below 98 %.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .compare import has_onnxruntime
from .report import duration, progress, size, table

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "digits"
MODEL = "resnet20.onnx"
ACCURACY = 0.98
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
    path = EXAMPLE / "data.py"
    if not path.exists() or not (EXAMPLE / MODEL).exists():
        raise SystemExit(f"error: {EXAMPLE} is missing; the demo runs from a checkout of the repository")
    spec = importlib.util.spec_from_file_location("secateur_example_digits", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def compile_example(folder: Path) -> Path:
    """Compiles the example; the IR after every pass and every kernel go to `folder/ir`."""
    import secateur

    folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with progress() as show:
        artifact = secateur.compile(
            EXAMPLE / MODEL, folder / "resnet20.so", dump_ir=folder / "ir", progress=show
        )
    first, last = artifact.outcome.records[0], artifact.outcome.records[-1]
    print(
        f"compiled {EXAMPLE.name}/{MODEL} in {time.monotonic() - start:.1f} s: "
        f"{first.operators_before} operators became {last.operators_after}"
    )
    return artifact.path


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


def run_networks(artifact: Path, images: Floats) -> list[Measured]:
    """The artifact's measurements, then those of ONNX Runtime where it is installed."""
    import secateur

    with secateur.load(artifact) as session:
        networks: list[Network] = [lambda image: session.run({"image": image})["logits"]]
        if has_onnxruntime():
            networks.append(onnxruntime_network())
        found = measure(networks, images)
    sizes = artifact.stat().st_size, (EXAMPLE / MODEL).stat().st_size
    rows = [Measured("secateur", *found[0], sizes[0], "resnet20.so, needs libc alone")]
    if has_onnxruntime():
        parts = f"model {size(sizes[1])}, runtime {size(onnxruntime_bytes())}"
        rows.append(Measured("onnxruntime", *found[1], sizes[1] + onnxruntime_bytes(), parts))
    return rows


def print_results(rows: Sequence[Measured], labels: NDArray[np.int64]) -> None:
    """The table of accuracy, latency and size."""
    cells = [
        (
            row.name,
            f"{np.mean(row.labels == labels):.2%} ({np.sum(row.labels == labels)}/{len(labels)})",
            duration(median(row.seconds)),
            size(row.bytes),
            row.parts,
        )
        for row in rows
    ]
    print(f"\n{len(labels)} held-out images, one at a time, one thread:")
    print(table(("", "accuracy", "median latency", "size", ""), cells, right=("median latency", "size")))


def faults(rows: Sequence[Measured], labels: NDArray[np.int64]) -> list[str]:
    """What is wrong with the results, as sentences."""
    ours, *peers = rows
    wrong = [
        f"{np.sum(ours.labels != peer.labels)} predictions differ from {peer.name}'s"
        for peer in peers
        if np.any(ours.labels != peer.labels)
    ]
    accuracy = float(np.mean(ours.labels == labels))
    return [*wrong, *([f"accuracy {accuracy:.2%} is below {ACCURACY:.0%}"] if accuracy < ACCURACY else [])]


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; returns its exit code."""
    parser = argparse.ArgumentParser(prog="secateur.tools.demo", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "demo", help="where everything goes")
    folder: Path = parser.parse_args(arguments).output
    data: Any = example_module()
    artifact = compile_example(folder)
    show_fusion(folder / "ir")
    digits = data.load_heldout()
    rows = run_networks(artifact, data.network_input(digits.images))
    print_results(rows, digits.labels)
    if len(rows) > 1:
        print(f"largest difference of a logit: {np.abs(rows[0].logits - rows[1].logits).max():.2g}")
    print(
        f"\nartifact: {artifact}\nIR after each pass, kernels as TIR, LLVM IR and assembly: {folder / 'ir'}"
    )
    for fault in (wrong := faults(rows, digits.labels)):
        print(f"error: {fault}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
