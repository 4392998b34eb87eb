"""Holds files for LiteRT against the interpreter, LiteRT's default kernels and Vela, network by network.

    python -m secateur.tools.checks.litert resnet18 mobilenet-v2 light.onnx --shape x=1x3x224x224 --vela vela

Each network is compiled for `litert`, with ranges from noise where it has none; names are the benchmark's.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import onnx

import secateur
from secateur import Inputs, Int8, SecateurError
from secateur.ir.graph import Graph
from secateur.ir.interpreter import Array, run
from secateur.tools.bench.models import build, names
from secateur.tools.litert import RESOLVERS, Kernels, LitertSession
from secateur.tools.tables import table

VELA_SECONDS = 1800


@dataclass(frozen=True)
class Row:
    """What became of one network; counts are of bytes of its outputs on one input of noise."""

    network: str
    refused: str = ""
    operators: int = 0
    compared: int = 0
    reference: int = 0  # bytes that LiteRT's reference kernels give otherwise than the interpreter
    default: int = 0  # and its default kernels
    largest: int = 0  # steps between those at most
    sqnr: float | None = None
    vela: str = ""

    @property
    def right(self) -> bool:
        return not self.refused and self.reference == 0 and self.vela in ("", "accepts")


def checked(network: str, side: int | None, given: Sequence[str], target: str, vela: str | None) -> Row:
    """Compiles one network and compares; a refusal is a row too."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # noise says little of ranges
        try:
            return _compared(network, _model(network, side, Path(folder)), Path(folder), given, target, vela)
        except SecateurError as error:
            return Row(network, refused=str(error))


def _model(network: str, side: int | None, folder: Path) -> Path:
    """The file of a network; one of the benchmark's is built."""
    if network not in names():
        return Path(network)
    path = folder / f"{network}.onnx"
    onnx.save(build(network, side=side), path)
    return path


def _compared(
    network: str, model: Path, folder: Path, given: Sequence[str], target: str, vela: str | None
) -> Row:
    path = folder / f"{Path(network).stem}.tflite"
    made = _compiled(model, path, given, target)
    inputs = noise(made.graph)
    wanted = run(made.graph, inputs)
    reference, default = (_moved(path, inputs, wanted, kernels) for kernels in RESOLVERS)
    if reference is None or default is None:
        return Row(
            network, refused=f"LiteRT's {'default' if reference is not None else 'reference'} kernels abort"
        )
    return Row(
        network,
        operators=int(made.manifest["file_operators"]),
        compared=sum(array.size for array in wanted.values()),
        reference=int(np.count_nonzero(reference)),
        default=int(np.count_nonzero(default)),
        largest=int(default.max(initial=0)),
        sqnr=None if made.quantization is None else made.quantization.sqnr,
        vela=_vela(vela, path) if vela else "",
    )


def _compiled(model: Path, path: Path, given: Sequence[str], target: str) -> secateur.Artifact:
    shapes = {name: tuple(map(int, dims.split("x"))) for name, _, dims in (g.partition("=") for g in given)}
    return secateur.compile(model, path, target, quantize=Int8("random:1"), inputs=Inputs(shapes=shapes))


def noise(graph: Graph, seed: int = 0) -> dict[str, Array]:
    """Inputs of bytes over their whole range."""
    rng = np.random.default_rng(seed)
    found: dict[str, Array] = {}
    for value in graph.inputs:
        shape, dtype = value.type.shape, value.type.dtype
        if dtype.is_float:
            found[value.name] = rng.normal(size=shape).astype(np.float32)
            continue
        limits = np.iinfo(dtype.numpy.name)
        found[value.name] = rng.integers(limits.min, limits.max, shape, endpoint=True).astype(dtype.numpy)
    return found


def _moved(path: Path, inputs: dict[str, Array], wanted: dict[str, Array], kernels: Kernels) -> Array | None:
    """By how many steps each element of the outputs differs; None where LiteRT aborts.

    It does so in a process of its own: its reference softmax ends the process where more than 512 elements
    are about as large as the largest.
    """
    found = path.with_suffix(f".{kernels}.npz")
    process = get_context("fork").Process(target=_ran, args=(path, inputs, kernels, found))
    process.start()
    process.join()
    if process.exitcode:
        return None
    with np.load(found) as arrays:
        parts = [
            np.abs(arrays[n].astype(np.int64) - a.astype(np.int64)).reshape(-1) for n, a in wanted.items()
        ]
    return np.concatenate(parts)


def _ran(path: Path, inputs: dict[str, Array], kernels: Kernels, found: Path) -> None:
    with LitertSession(path, kernels=kernels) as session:
        np.savez(found, **session.run(inputs))  # type: ignore[arg-type]


def _vela(program: str, path: Path) -> str:
    """What Vela says of a file: it compiles it for an Ethos-U55, or why not."""
    command = [program, str(path), "--output-dir", str(path.parent / "vela")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=VELA_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"takes more than {VELA_SECONDS} s"
    lines = (done.stdout + done.stderr).strip().splitlines()
    return "accepts" if done.returncode == 0 else f"refuses: {lines[-1] if lines else done.returncode}"


# The command ----------------------------------------------------------------------------------------

HEADINGS = ("network", "operators", "compared", "reference", "default", "largest step", "SQNR", "Vela")


def _cells(row: Row) -> tuple[str, ...]:
    if row.refused:
        return (row.network, *[""] * 6, row.refused.splitlines()[0])
    counts = (row.operators, row.compared, row.reference, row.default, row.largest)
    sqnr = "" if row.sqnr is None else f"{row.sqnr:.1f} dB"
    return (row.network, *map(str, counts), sqnr, row.vela)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="litert", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("networks", nargs="+", help="ONNX files, or names of the benchmark's networks")
    parser.add_argument("--side", type=int, help="of the benchmark's images; default: the published one")
    parser.add_argument("--shape", action="append", default=[], metavar="INPUT=DIMS")
    parser.add_argument("--target", default="litert", choices=("litert", "edgetpu"))
    parser.add_argument("--vela", help="a program of ethos-u-vela, which must accept the files")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if options.vela and shutil.which(options.vela) is None:
        parser.error(f"there is no program {options.vela}; pip install ethos-u-vela")
    rows = [checked(n, options.side, options.shape, options.target, options.vela) for n in options.networks]
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        print(table(HEADINGS, [_cells(row) for row in rows], right=HEADINGS[1:6]))
        for row in rows:
            if row.refused:
                print(f"{row.network}: {row.refused}")
    return 0 if all(row.right for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
