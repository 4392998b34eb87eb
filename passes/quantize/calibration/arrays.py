"""Calibration images in `.npy` and `.npz` files, read one at a time whatever the file holds."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Value

from .source import Array, Batch, Source, batch_size, image_count, image_shape, only_input, source_of, spread

LABELS = ("labels", "label", "y")


def from_npy(path: Path, graph: Graph, limit: int | None) -> Source:
    """Images are read from the file as they are wanted."""
    port = only_input(graph, f"{path}: a single array")
    array = mapped(path)
    chosen = spread(image_count(array, graph, port, str(path)), limit)

    def read() -> Iterator[Batch]:
        for index in chosen:
            yield {port.name: _image(array, index, graph, port)}

    return source_of(graph, chosen, read, path)


def mapped(path: Path) -> Array:
    """The array in an .npy file, read where it is touched."""
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (ValueError, EOFError):
        raise SecateurError(f"{path}: is not an .npy file of numbers") from None


def _image(array: Array, index: int, graph: Graph, port: Value) -> Array:
    """Image `index` of an array of images, or of batches of them."""
    batch = batch_size(graph)
    where = index if batch is None or array.ndim == port.type.rank else divmod(index, batch)
    return np.array(array[where], port.type.dtype.numpy)


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

    def images(self, shape: tuple[int, ...], dtype: Any, chosen: Sequence[int]) -> Iterator[Array]:
        """The chosen images of a shape as `dtype`, in ascending order, one in memory at a time."""
        size = int(np.prod(shape, dtype=np.int64)) * self.dtype.itemsize
        with zipfile.ZipFile(self.path) as archive, archive.open(f"{self.key}.npy") as stream:
            _header(stream)
            start = stream.tell()
            for index in chosen:
                data = self._bytes(stream, start + index * size, size)
                yield np.frombuffer(data, self.dtype).reshape(shape).astype(dtype)

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


def from_npz(path: Path, graph: Graph, limit: int | None) -> Source:
    members = _members(path)
    ports = _ports(path, graph, members)
    counts = {port: image_count(member, graph, port, member.where) for port, member in ports.items()}
    if len(set(counts.values())) != 1:
        listed = ", ".join(f"{n} for '{port.name}'" for port, n in counts.items())
        raise SecateurError(f"{path}: numbers of images differ: {listed}")
    count = next(iter(counts.values()))
    chosen = spread(count, limit)

    def read() -> Iterator[Batch]:
        streams = [
            member.images(image_shape(graph, port), port.type.dtype.numpy, chosen)
            for port, member in ports.items()
        ]
        names = [port.name for port in ports]
        for images in zip(*streams, strict=True):
            yield dict(zip(names, images, strict=True))

    return source_of(graph, chosen, read, path, _labels(graph, members, count))


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


def _labels(graph: Graph, members: Mapping[str, _Member], images: int) -> NDArray[np.int64] | None:
    names = {v.name for v in graph.inputs}
    found = next((members[key] for key in LABELS if key in members and key not in names), None)
    if found is None:
        return None
    if found.shape != (images,) or found.dtype.kind not in "iu":
        raise SecateurError(f"{found.where}: {images} integers are wanted, it is {found.dtype} {found.shape}")
    return found.whole().astype(np.int64)
