"""Images to calibrate and to measure accuracy with: a stream of batches from whatever the user has.

`open_source` takes a folder of images, an `.npy` or `.npz` file of arrays, a
`.txt` list of files, `random:N`, or any iterable of {input name: array}. A
source is read anew for each iteration and holds one batch at a time.
"""

from __future__ import annotations

import logging
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Value
from secateur.ir.noise import random_array

from .arrays import from_npy, from_npz, mapped
from .images import SUFFIXES, ImageReader, pillow
from .preparation import NOISE, Preparation
from .source import Array, Batch, Source, image_count, image_shape, only_input, source_of, spread

Batches = Iterable[Mapping[str, Array]]

LIST = ".txt"
READERS = {".npy": from_npy, ".npz": from_npz}

COST_OF_NOISE = "the output of the digits example has 14 to 22 dB more noise than with digits."
_log = logging.getLogger("secateur.calibration")


def open_source(
    source: str | Path | Batches,
    graph: Graph,
    preparation: Preparation | None = None,
    limit: int | None = None,
) -> Source:
    """The batches that `source` holds for `graph`'s inputs; at most `limit` images, evenly spread over it.

    `preparation` is for image files. Raises SecateurError where the source is
    missing, empty, damaged, or does not fit the inputs (when it is opened where
    that can be told, else when it is read).
    """
    if limit is not None and limit < 1:
        raise SecateurError(f"{limit} images are too few to calibrate with")
    if not isinstance(source, str | Path):
        return _from_iterable(source, graph)
    if str(source).startswith(NOISE):
        return _from_random(str(source), graph)
    check_source(source)
    path, images = Path(source), preparation or Preparation()
    if path.is_dir():
        files = _images_below(path)
        return _from_files(files, _classes(path, files), graph, images, limit)
    if path.suffix == LIST:
        return _from_files(*_listed(path), graph, images, limit)
    return READERS[path.suffix](path, graph, limit)


def check_source(source: str | Path) -> None:
    """SecateurError where that is no calibration data, whatever the network: known before any work."""
    path = Path(source)
    if str(source).startswith(NOISE):
        _noise_images(str(source))
    elif path.is_dir():
        _images_below(path)
    elif not path.exists() or path.suffix not in (*READERS, LIST):
        raise SecateurError(
            f"{path}: {'is no' if path.exists() else 'no such'} calibration data; known are a folder of "
            f"images, {', '.join(READERS)}, a {LIST} list of files, and {NOISE}N"
        )


# Files ---------------------------------------------------------------------------------------------


def _images_below(folder: Path) -> list[Path]:
    """Every image file in the folder and its subfolders, in order of their names."""
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise SecateurError(f"{folder}: holds no image ({', '.join(sorted(SUFFIXES))})")
    return found


def _classes(folder: Path, files: Sequence[Path]) -> NDArray[np.int64] | None:
    """The number of each file's subfolder, counted in order of their names, where every file lies in one."""
    names = [file.relative_to(folder).parts[0] if file.parent != folder else "" for file in files]
    if "" in names:
        return None
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def _listed(path: Path) -> tuple[list[Path], NDArray[np.int64] | None]:
    """The files that a list names, relative to its folder, and the class numbers behind them if there are."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError:
        raise SecateurError(f"{path}: is not text") from None
    rows = [_row(path, number, line) for number, line in enumerate(lines, 1) if line and line[0] != "#"]
    if not rows:
        raise SecateurError(f"{path}: names no file")
    labels = [label for _, label in rows if label is not None]
    if labels and len(labels) != len(rows):
        raise SecateurError(
            f"{path}: {len(labels)} of {len(rows)} lines have a class number; all or none must"
        )
    return [file for file, _ in rows], np.array(labels, np.int64) if labels else None


def _row(path: Path, number: int, line: str) -> tuple[Path, int | None]:
    if (whole := path.parent / line).is_file():
        return whole, None
    found = re.fullmatch(r"(.*\S)\s+(\d{1,9})", line)
    if found and (file := path.parent / found[1]).is_file():
        return file, int(found[2])
    raise SecateurError(f"{path}: line {number}: no such file: {path.parent / (found[1] if found else line)}")


def _from_files(
    files: Sequence[Path],
    labels: NDArray[np.int64] | None,
    graph: Graph,
    preparation: Preparation,
    limit: int | None,
) -> Source:
    port = only_input(graph, "a file for each image")
    chosen = spread(len(files), limit)
    load = _loader(files, graph, port, preparation)

    def read() -> Iterator[Batch]:
        return ({port.name: load(files[index])} for index in chosen)

    return source_of(graph, chosen, read, files[0].parent, labels)


def _loader(
    files: Sequence[Path], graph: Graph, port: Value, preparation: Preparation
) -> Callable[[Path], Array]:
    """Reads one image from any of `files`; refuses at once what is neither an image nor an array."""
    suffixes = {file.suffix.lower(): file for file in files}
    if strange := suffixes.keys() - SUFFIXES - {".npy"}:
        raise SecateurError(f"{suffixes[min(strange)]}: is neither an image nor an .npy file")
    if suffixes.keys() == {".npy"}:
        return lambda file: _single(file, graph, port)
    pillow()  # before any work is done
    reader = ImageReader(port, preparation)
    return lambda file: _single(file, graph, port) if file.suffix.lower() == ".npy" else reader.read(file)


def _single(path: Path, graph: Graph, port: Value) -> Array:
    """The array in an .npy file that holds one image, with or without a leading 1."""
    array, shape = mapped(path), port.type.shape[1:]
    stacked = array[None] if array.shape == shape else array
    if (count := image_count(stacked, graph, port, str(path))) != 1:
        raise SecateurError(f"{path}: holds {count} images, a list names one in each file")
    return np.array(stacked[0], port.type.dtype.numpy).reshape(shape)


# Noise, and arrays from Python ---------------------------------------------------------------------


def _from_random(text: str, graph: Graph) -> Source:
    """Seeded noise, the same every time."""
    chosen = range(_noise_images(text))
    _log.warning(
        "%s: calibrating on noise instead of images. Ranges will not fit what the network sees: %s "
        "Use it to measure speed, not to ship a model.", text, COST_OF_NOISE
    )  # fmt: skip

    def read() -> Iterator[Batch]:
        for index in chosen:
            yield {
                v.name: random_array(image_shape(graph, v), v.type.dtype.numpy, index * len(graph.inputs) + i)
                for i, v in enumerate(graph.inputs)
            }

    return source_of(graph, chosen, read, text)


def _noise_images(text: str) -> int:
    """How many images of noise are asked for."""
    found = re.fullmatch(rf"{NOISE}(\d{{1,9}})", text)
    if found is None or int(found[1]) == 0:
        raise SecateurError(f"{text}: {NOISE} and a number of images are wanted, such as {NOISE}64")
    return int(found[1])


def _from_iterable(source: Batches, graph: Graph) -> Source:
    """Batches as they come; each is checked."""
    single_use = iter(source) is source
    used = False

    def read() -> Iterator[Batch]:
        nonlocal used
        if used and single_use:
            raise SecateurError(
                "the calibration data can be read once only and is needed again; give a list, or an object "
                "whose iter() begins anew, instead of a generator"
            )
        used = True
        return (_checked(batch, index, graph) for index, batch in enumerate(source))

    batch = next((v.type.shape[0] for v in graph.inputs if v.type.rank and v.type.shape[0]), 1)
    return Source(batch, operator.length_hint(source) * batch, read)


def _checked(batch: Mapping[str, Array], index: int, graph: Graph) -> Batch:
    where = f"calibration batch {index}"
    if not isinstance(batch, Mapping):
        raise SecateurError(f"{where} is a {type(batch).__name__}, not a mapping of input names to arrays")
    names = {v.name for v in graph.inputs}
    if batch.keys() != names:
        given = ", ".join(map(str, batch)) or "none"
        raise SecateurError(f"{where} has arrays {given}; the inputs are {', '.join(sorted(names))}")
    return {v.name: _fitting(np.asarray(batch[v.name]), v, where) for v in graph.inputs}


def _fitting(array: Array, port: Value, where: str) -> Array:
    type, dtype = port.type, port.type.dtype.numpy
    floats = array.dtype.kind == "f" and dtype.kind == "f"
    if array.shape != type.shape or not (array.dtype == dtype or floats):
        raise SecateurError(
            f"{where}: input '{port.name}' is {dtype} {type.shape}, got {array.dtype} {array.shape}"
        )
    return array.astype(dtype, copy=False)
