"""What 8 bits cost in files of several converters: SQNR of each against the float model, on the same images.

    python -m secateur.tools.checks.converters model.onnx --calibration c.npy --images x.npy other.tflite ...

The model is compiled for `litert`, with ranges of the arrays in c.npy, which the other files' makers must
have been given too; every file runs in LiteRT's reference kernels on the arrays in x.npy.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import secateur
from secateur import Inputs, Int8, SecateurError
from secateur.codegen.backends.tflite.contents import read_contents
from secateur.ir.interpreter import Array
from secateur.tools.litert import LitertSession
from secateur.tools.tables import table


def float_outputs(model: Path, images: Array) -> Array:
    """The model's first output in ONNX Runtime, image by image."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: image[None]})[0] for image in images])


def file_outputs(path: Path, images: Array, shape: tuple[int, ...]) -> Array:
    """A file's first output as real numbers in the model's order."""
    found = []
    with LitertSession(path) as session:
        (given, *_), (made, *_) = session.stored
        for image in images:
            stored = session.run({given.name: given.of(image[None])})[made.name]
            found.append(made.real(stored, (1, *shape)))
    return np.concatenate(found)


def decibels(wanted: Array, got: Array) -> float:
    noise = float(np.square(got.astype(np.float64) - wanted).sum())
    return float(10 * np.log10(np.square(wanted.astype(np.float64)).sum() / max(noise, 1e-300)))


def compiled(model: Path, calibration: Array, path: Path, winograd: str) -> Path:
    images = [{_input(model): image[None]} for image in calibration]
    made = Int8(images, winograd=winograd)  # type: ignore[arg-type]
    secateur.compile(model, path, "litert", quantize=made, inputs=Inputs(batch=1))
    return path


def _input(model: Path) -> str:
    import onnx

    return str(onnx.load(model, load_external_data=False).graph.input[0].name)


HEADINGS = ("file", "operators", "SQNR", "same class")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="converters", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("files", nargs="*", type=Path, help="what other converters made of the model")
    parser.add_argument("--calibration", type=Path, required=True, help="an array of images, .npy")
    parser.add_argument("--images", type=Path, required=True, help="an array of other images, .npy")
    options = parser.parse_intermixed_args(arguments)
    try:
        _compare(options.model, options.files, options.calibration, options.images)
    except (OSError, ValueError, SecateurError) as error:  # no file, no array, no model
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _compare(model: Path, others: Sequence[Path], calibration: Path, images: Path) -> None:
    """Prints the table."""
    ranges, seen = (np.load(path).astype(np.float32) for path in (calibration, images))
    with tempfile.TemporaryDirectory() as folder:
        files = {str(path): path for path in others}
        for tile in ("off", "2"):
            path = Path(folder) / f"{tile}.tflite"
            files[f"secateur --winograd {tile}"] = compiled(model, ranges, path, tile)
        wanted = float_outputs(model, seen)
        print(table(HEADINGS, [_row(name, path, seen, wanted) for name, path in files.items()]))


def _row(name: str, path: Path, images: Array, wanted: Array) -> tuple[str, ...]:
    try:
        got = file_outputs(path, images, wanted.shape[1:])
    except SecateurError as error:
        return name, "", "", str(error)
    same = float((got.argmax(1) == wanted.argmax(1)).mean())
    count = len(read_contents(path).operators)
    return name, str(count), f"{decibels(wanted, got):.1f} dB", f"{100 * same:.1f} %"


if __name__ == "__main__":
    sys.exit(main())
