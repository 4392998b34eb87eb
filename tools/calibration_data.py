"""Images to calibrate and to measure accuracy with: a stream of batches from whatever the user has.

`open_source` takes a folder of images, an `.npy` or `.npz` file of arrays, a
`.txt` list of files, `random:N`, or any iterable of {input name: array}. A
source is read anew for each iteration and holds one batch at a time.
"""

from __future__ import annotations

import logging
import operator
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Value

from .calibration_images import SUFFIXES, ImageReader, Preparation, pillow
from .commands.common import random_array

Array = NDArray[Any]
Batch = dict[str, Array]
Batches = Iterable[Mapping[str, Array]]

LABELS = ("labels", "label", "y")
COST_OF_NOISE = "the output of the digits example has 14 to 22 dB more noise than with digits."
_log = logging.getLogger("secateur.calibration")


@dataclass(frozen=True, eq=False)
class Source:
    """Batches that fit a graph's inputs, read anew by each `iter`.

    `images` counts them (0: not known before they are read); those that do not
    fill a last batch are left out. `labels` is one class an image, int64, where
    the source has them.
    """

    batch: int
    images: int
    read: Callable[[], Iterator[Batch]]
    labels: NDArray[np.int64] | None = None

    def __iter__(self) -> Iterator[Batch]:
        return self.read()

    def __length_hint__(self) -> int:
        return self.images // self.batch

    def labelled(self) -> Iterator[tuple[Batch, NDArray[np.int64]]]:
        """Batches with their labels; SecateurError where the source has none."""
        if self.labels is None:
            raise SecateurError(
                "the accuracy needs labels: an .npz with an array 'labels', or a list file with a class "
                "number behind each path"
            )
        for index, batch in enumerate(self):
            yield batch, self.labels[index * self.batch : (index + 1) * self.batch]


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
    if str(source).startswith("random:"):
        return _from_random(str(source), graph)
    path, images = Path(source), preparation or Preparation()
    if path.is_dir():
        return _from_files(_images_below(path), None, graph, images, limit)
    readers = {".npy": _from_npy, ".npz": _from_npz}
    if path.suffix in readers:
        return readers[path.suffix](path, graph, limit)
    if path.suffix == ".txt":
        return _from_files(*_listed(path), graph, images, limit)
    raise SecateurError(
        f"{path}: {'is no' if path.exists() else 'no such'} calibration data; known are a folder of images, "
        f".npy, .npz, a .txt list of files, and random:N"
    )


# What the inputs want ------------------------------------------------------------------------------


def batch_size(graph: Graph) -> int:
    """The leading extent that all inputs share; SecateurError where they do not."""
    sizes = {v.type.shape[:1] for v in graph.inputs}
    if len(sizes) != 1 or () in sizes or (0,) in sizes:
        listed = ", ".join(f"'{v.name}' {list(v.type.shape)}" for v in graph.inputs) or "none"
        raise SecateurError(
            f"inputs {listed} have no batch in common; give an iterable of {{input: array}} from Python"
        )
    return sizes.pop()[0]


def _only_input(graph: Graph, what: str) -> Value:
    if len(graph.inputs) != 1:
        names = ", ".join(f"'{v.name}'" for v in graph.inputs)
        raise SecateurError(
            f"{what} feeds one input, the model has {names}; give an .npz with an array for each"
        )
    return graph.inputs[0]


def _count(shape: Sequence[int], dtype: np.dtype[Any], port: Value, where: str) -> int:
    """How many images an array of `shape` holds for `port`: N x one image, or N x a whole batch."""
    type, shape = port.type, tuple(shape)
    wanted = type.dtype.numpy
    if not (dtype == wanted or (dtype.kind == "f" and wanted.kind == "f")):
        pixels = "; pixels must be prepared first (scaled, normalized)" if dtype == np.uint8 else ""
        raise SecateurError(f"{where} holds {dtype}, input '{port.name}' is {wanted}{pixels}")
    if shape[1:] == type.shape[1:]:
        return shape[0]
    if shape[1:] == type.shape:
        return shape[0] * type.shape[0]
    one = ", ".join(map(str, ("N", *type.shape[1:])))
    raise SecateurError(f"{where} has shape {shape}, input '{port.name}' takes images of ({one})")


def _spread(count: int, limit: int | None) -> range | list[int]:
    """Indices of at most `limit` of `count`, evenly spread."""
    if limit is None or limit >= count:
        return range(count)
    return [i * count // limit for i in range(limit)]


def _enough(chosen: Sequence[int], batch: int, where: object) -> None:
    if len(chosen) < batch:
        of = f"the model's batch is {batch}" if chosen else "it is empty"
        raise SecateurError(f"{where}: {len(chosen)} images are too few: {of}")


def _batched(images: Iterator[Batch], batch: int) -> Iterator[Batch]:
    """Full batches of single images."""
    waiting: list[Batch] = []
    for image in images:
        waiting.append(image)
        if len(waiting) == batch:
            yield {name: np.stack([one[name] for one in waiting]) for name in image}
            waiting.clear()


def _source(
    graph: Graph,
    chosen: Sequence[int],
    read: Callable[[], Iterator[Batch]],
    where: object,
    labels: NDArray[np.int64] | None = None,
) -> Source:
    batch = batch_size(graph)
    _enough(chosen, batch, where)
    kept = None if labels is None else labels[list(chosen)]
    return Source(batch, len(chosen), lambda: _batched(read(), batch), kept)


# Arrays --------------------------------------------------------------------------------------------


def _from_npy(path: Path, graph: Graph, limit: int | None) -> Source:
    """Images are read from the file as they are wanted."""
    port = _only_input(graph, f"{path}: a single array")
    batch_size(graph)
    array = _mapped(path)
    chosen = _spread(_count(array.shape, array.dtype, port, str(path)), limit)

    def read() -> Iterator[Batch]:
        for index in chosen:
            yield {port.name: _image(array, index, port)}

    return _source(graph, chosen, read, path)


def _mapped(path: Path) -> Array:
    """The array in an .npy file, read where it is touched."""
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (ValueError, EOFError):
        raise SecateurError(f"{path}: is not an .npy file of numbers") from None


def _image(array: Array, index: int, port: Value) -> Array:
    """Image `index` of an array of images, or of batches of them."""
    whole = array.ndim == port.type.rank + 1
    image = array[divmod(index, port.type.shape[0])] if whole else array[index]
    return np.array(image, port.type.dtype.numpy)


@dataclass(frozen=True)
class _Member:
    """An array in an .npz file, known by its header: the data is read when it is wanted."""

    path: Path
    key: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def where(self) -> str:
        return f"{self.path}: array '{self.key}'"

    def whole(self) -> Array:
        with np.load(self.path, allow_pickle=False) as arrays:
            return np.asarray(arrays[self.key])

    def images(self, port: Value, chosen: Sequence[int]) -> Iterator[Array]:
        """The chosen images, in ascending order, one in memory at a time."""
        shape = port.type.shape[1:]
        size = int(np.prod(shape, dtype=np.int64)) * self.dtype.itemsize
        with zipfile.ZipFile(self.path) as archive, archive.open(f"{self.key}.npy") as stream:
            _header(stream)
            start = stream.tell()
            for index in chosen:
                data = self._bytes(stream, start + index * size, size)
                yield np.frombuffer(data, self.dtype).reshape(shape).astype(port.type.dtype.numpy)

    def _bytes(self, stream: Any, at: int, size: int) -> bytes:
        try:
            stream.seek(at)
            data: bytes = stream.read(size)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise SecateurError(f"{self.where} is damaged: {error}") from None
        if len(data) != size:
            raise SecateurError(f"{self.where} ends too early")
        return data


def _header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran order, and dtype; leaves the stream where the data begins."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    return shape, fortran, dtype


def _members(path: Path) -> dict[str, _Member]:
    try:
        with zipfile.ZipFile(path) as archive:
            return {n.removesuffix(".npy"): _member(path, archive, n) for n in archive.namelist()}
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError) as error:
        if isinstance(error, SecateurError):
            raise
        raise SecateurError(f"{path}: is not an .npz file of arrays: {error}") from None


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> _Member:
    with archive.open(name) as stream:
        shape, fortran, dtype = _header(stream)
    key = name.removesuffix(".npy")
    if dtype.hasobject or (fortran and len(shape) > 1):
        reason = (
            "holds Python objects" if dtype.hasobject else "is in Fortran order; save numpy.ascontiguousarray"
        )
        raise SecateurError(f"{path}: array '{key}' {reason}")
    return _Member(path, key, shape, dtype)


def _from_npz(path: Path, graph: Graph, limit: int | None) -> Source:
    members = _members(path)
    ports = _ports(path, graph, members)
    batch_size(graph)
    counts = {port: _count(m.shape, m.dtype, port, m.where) for port, m in ports.items()}
    if len(set(counts.values())) != 1:
        listed = ", ".join(f"{n} for '{port.name}'" for port, n in counts.items())
        raise SecateurError(f"{path}: numbers of images differ: {listed}")
    count = next(iter(counts.values()))
    chosen = _spread(count, limit)

    def read() -> Iterator[Batch]:
        streams = [m.images(port, chosen) for port, m in ports.items()]
        names = [port.name for port in ports]
        for images in zip(*streams, strict=True):
            yield dict(zip(names, images, strict=True))

    return _source(graph, chosen, read, path, _labels(path, graph, members, count))


def _ports(path: Path, graph: Graph, members: Mapping[str, _Member]) -> dict[Value, _Member]:
    """The array for each input: that of its name; for an only input an only array of any name."""
    missing = [v.name for v in graph.inputs if v.name not in members]
    if not missing and graph.inputs:
        return {v: members[v.name] for v in graph.inputs}
    others = [m for key, m in members.items() if key not in LABELS]
    if len(graph.inputs) == 1 and len(others) == 1:
        return {graph.inputs[0]: others[0]}
    wanted = ", ".join(f"'{name}'" for name in missing)
    raise SecateurError(f"{path}: has no array for input {wanted}; it has {', '.join(members) or 'none'}")


def _labels(
    path: Path, graph: Graph, members: Mapping[str, _Member], images: int
) -> NDArray[np.int64] | None:
    names = {v.name for v in graph.inputs}
    found = next((members[key] for key in LABELS if key in members and key not in names), None)
    if found is None:
        return None
    if found.shape != (images,) or found.dtype.kind not in "iu":
        raise SecateurError(f"{found.where}: {images} integers are wanted, it is {found.dtype} {found.shape}")
    return found.whole().astype(np.int64)


# Files ---------------------------------------------------------------------------------------------


def _images_below(folder: Path) -> list[Path]:
    """Every image file in the folder and its subfolders, in order of their names."""
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise SecateurError(f"{folder}: holds no image ({', '.join(sorted(SUFFIXES))})")
    return found


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
    port = _only_input(graph, "a file for each image")
    chosen = _spread(len(files), limit)
    load = _loader(files, port, preparation)

    def read() -> Iterator[Batch]:
        return ({port.name: load(files[index])} for index in chosen)

    return _source(graph, chosen, read, files[0].parent, labels)


def _loader(files: Sequence[Path], port: Value, preparation: Preparation) -> Callable[[Path], Array]:
    """Reads one image from any of `files`; refuses at once what is neither an image nor an array."""
    suffixes = {file.suffix.lower(): file for file in files}
    if strange := suffixes.keys() - SUFFIXES - {".npy"}:
        raise SecateurError(f"{suffixes[min(strange)]}: is neither an image nor an .npy file")
    if suffixes.keys() == {".npy"}:
        return lambda file: _single(file, port)
    pillow()  # before any work is done
    reader = ImageReader(port, preparation)
    return lambda file: _single(file, port) if file.suffix.lower() == ".npy" else reader.read(file)


def _single(path: Path, port: Value) -> Array:
    """The array in an .npy file that holds one image, with or without a leading 1."""
    array, shape = _mapped(path), port.type.shape[1:]
    stacked = array[None] if array.shape == shape else array
    if (count := _count(stacked.shape, array.dtype, port, str(path))) != 1:
        raise SecateurError(f"{path}: holds {count} images, a list names one in each file")
    return np.array(stacked[0], port.type.dtype.numpy).reshape(shape)


# Noise, and arrays from Python ---------------------------------------------------------------------


def _from_random(text: str, graph: Graph) -> Source:
    """Seeded noise, the same every time."""
    found = re.fullmatch(r"random:(\d{1,9})", text)
    if found is None or int(found[1]) == 0:
        raise SecateurError(f"{text}: random: and a number of images are wanted, such as random:64")
    _log.warning(
        "%s: calibrating on noise instead of images. Ranges will not fit what the network sees: %s "
        "Use it to measure speed, not to ship a model.", text, COST_OF_NOISE
    )  # fmt: skip
    chosen = range(int(found[1]))

    def read() -> Iterator[Batch]:
        for index in chosen:
            yield {
                v.name: random_array(v.type.shape[1:], v.type.dtype.numpy, index * len(graph.inputs) + i)
                for i, v in enumerate(graph.inputs)
            }

    return _source(graph, chosen, read, text)


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
