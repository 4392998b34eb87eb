"""Running an artifact from Python: NumPy arrays in and out by pointer, through the C interface."""

from __future__ import annotations

import ctypes
import os
import platform
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import SecateurError
from .library import DTYPES, GPU_NO_GRAPH, GPU_SHARED, Library, OptionsStruct, TensorStruct
from .manifest import ArtifactError, Image, open_image

Array = NDArray[Any]
_MACHINE_ALIASES = {"AMD64": "x86_64", "arm64": "aarch64", "armv7l": "arm", "armv6l": "arm", "armv8l": "arm"}
_NARROW = {"aarch64": "arm", "x86_64": "i386"}
_ABI_VERSION = 2  # of secateur.h
MAX_THREADS = 256


class SessionError(SecateurError):
    """An artifact cannot run here, or a call does not fit the model."""


@dataclass(frozen=True)
class TensorInfo:
    """A model's input or output: its name, NumPy element type and shape."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"'{self.name}' {self.dtype}{list(self.shape)}"


class OperatorTime(NamedTuple):
    """One operator of one profiled run."""

    label: str
    operator: str
    ns: int
    macs: int


def load(
    path: str | Path,
    threads: int = 1,
    cpus: Sequence[int] = (),
    *,
    shared: bool = False,
    graph: bool = True,
) -> Session:
    """Opens an artifact (`.so`, folder or tar) with a pool of `threads` threads, the caller's included.

    Threads after the caller's run on the processors `cpus`, or without any where the caller may.
    Of models for a GPU: where inputs and outputs lie in memory that it has `shared` with the host, nothing is
    copied between the two, which suits boards with one memory; without `graph` its kernels are launched one
    by one, else replayed as one graph where the driver can.
    ArtifactError: damaged or foreign file, or made for another architecture or version of the C interface.
    SessionError: this processor lacks a feature the model needs, or no memory or threads can be had.
    """
    if not 1 <= threads <= MAX_THREADS:
        raise SessionError(f"threads must be 1 to {MAX_THREADS}, got {threads}")
    with open_image(path) as image:
        _check_machine(image, path)
        _check_interface(image, path)
        if not is_for_gpu(image.manifest) and (shared or not graph):
            raise SessionError(f"{path}: is for a processor; `shared` and `graph` are of models for a GPU")
        library = _open_library(image, path)
    try:
        return Session(
            library, image.manifest, threads, GPU_SHARED * shared | GPU_NO_GRAPH * (not graph), cpus
        )
    except SessionError:
        library.close()
        raise


class Session:
    """A loaded model with one state; calls from several threads take turns. Close it or use `with`."""

    def __init__(
        self,
        library: Library,
        manifest: dict[str, Any],
        threads: int,
        gpu: int = 0,
        cpus: Sequence[int] = (),
    ) -> None:
        self.manifest = manifest
        self.threads = threads
        self.inputs = _describe(library.secateur_input, library.secateur_input_count())
        self.outputs = _describe(library.secateur_output, library.secateur_output_count())
        self.arena_bytes: int = library.secateur_arena_bytes(threads)
        self._library = library
        self._lock = threading.Lock()
        begin = time.perf_counter()
        self._state = _create(library, threads, gpu, cpus)
        self.load_seconds = time.perf_counter() - begin
        """What making the state took: threads, and decoding of weights where they are coded."""
        self._finalizer = weakref.finalize(self, _release, library, self._state)

    def run(self, inputs: Mapping[str, Array], out: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Computes every output from `inputs`, both by name.

        Contiguous inputs are read in place, others copied first. Outputs named in `out` are written in
        place; the rest are new arrays. SessionError where a name, dtype or shape does not fit.
        """
        sources, results = self._bind(inputs, out or {})
        self._call(self._library.secateur_run, sources, results)
        return dict(zip((port.name for port in self.outputs), results, strict=True))

    def profile(self, inputs: Mapping[str, Array]) -> list[OperatorTime]:
        """Runs once and gives each operator's label, kind, nanoseconds and multiply-accumulates, in order."""
        sources, results = self._bind(inputs, {})
        times = (ctypes.c_int64 * max(1, self._library.secateur_operator_count()))()
        self._call(self._library.secateur_profile, sources, results, times)
        return [self._operator_time(i, times[i]) for i in range(self._library.secateur_operator_count())]

    def run_device(self, inputs: Mapping[str, int], outputs: Mapping[str, int], stream: int = 0) -> None:
        """Queues a run of a model for a GPU, from and to addresses in the GPU's memory, 16-byte aligned.

        It comes after what is on the `stream`, a CUstream by its handle, and must not meet another run of
        this session on another stream. SessionError where a name does not fit, or the model is for no GPU.
        """
        if not is_for_gpu(self.manifest):
            raise SessionError("the model is for a processor: it takes arrays, by `run`")
        _check_names("input", inputs, self.inputs)
        _check_names("output", outputs, self.outputs)
        with self._lock:
            if not self._finalizer.alive:
                raise SessionError("the session is closed")
            status = self._library.secateur_run_device(
                self._state,
                _addresses([inputs[port.name] for port in self.inputs]),
                _addresses([outputs[port.name] for port in self.outputs]),
                ctypes.c_void_p(stream),
            )
        if status:
            raise SessionError(self._library.message(status))

    def close(self) -> None:
        """Frees the state and unloads the model; a second call does nothing."""
        with self._lock:
            self._finalizer()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _operator_time(self, index: int, ns: int) -> OperatorTime:
        row = self._library.secateur_operator_at(index).contents
        return OperatorTime(row.label.decode(), row.name.decode(), ns, row.macs)

    def _bind(self, inputs: Mapping[str, Array], out: Mapping[str, Array]) -> tuple[list[Array], list[Array]]:
        _check_names("input", inputs, self.inputs)
        if unknown := out.keys() - {port.name for port in self.outputs}:
            raise SessionError(f"unknown output {_quoted(unknown)}; the model has {_listed(self.outputs)}")
        sources = [_source(port, inputs[port.name]) for port in self.inputs]
        results = [
            _target(port, out[port.name]) if port.name in out else np.empty(port.shape, port.dtype)
            for port in self.outputs
        ]
        if out:
            _check_overlap(sources, results)
        return sources, results

    def _call(self, function: Any, sources: Sequence[Array], results: Sequence[Array], *rest: Any) -> None:
        with self._lock:
            if not self._finalizer.alive:
                raise SessionError("the session is closed")
            status = function(self._state, _pointers(sources), _pointers(results), *rest)
        if status:
            raise SessionError(self._library.message(status))


def this_machine() -> str:
    """The architecture of this process, which may be 32-bit under a 64-bit kernel."""
    name = _MACHINE_ALIASES.get(platform.machine(), platform.machine())
    return name if ctypes.sizeof(ctypes.c_void_p) == 8 else _NARROW.get(name, name)


def _check_machine(image: Image, path: str | Path) -> None:
    here = this_machine()
    if image.machine != here:
        raise ArtifactError(f"{path}: made for {image.machine}, this machine is {here}")


def _check_interface(image: Image, path: str | Path) -> None:
    """Before any of its code is loaded: the functions of another version take other arguments."""
    version = image.manifest.get("abi")
    if version != _ABI_VERSION:
        raise ArtifactError(
            f"{path}: has version {version} of the C interface, this version of Secateur runs version "
            f"{_ABI_VERSION}; compile the model again"
        )


def _open_library(image: Image, path: str | Path) -> Library:
    """Loads the model under a name never used before: the dynamic loader would else give back an older
    model of the same path."""
    with tempfile.TemporaryDirectory(prefix="secateur-") as folder:
        alias = Path(folder) / "model.so"
        if image.path is None:
            alias.write_bytes(image.data)
        else:
            os.symlink(image.path.resolve(), alias)
        try:
            library = Library(alias)
        except (OSError, AttributeError) as error:
            reason = str(error).replace(str(alias), str(path))
            raise ArtifactError(f"{path}: cannot be loaded: {reason}") from None
    return library


def is_for_gpu(manifest: Mapping[str, Any]) -> bool:
    """Whether a GPU computes the model."""
    return "device" in manifest


def _create(library: Library, threads: int, gpu: int, cpus: Sequence[int]) -> ctypes.c_void_p:
    # A null pointer where none are named: models made before the field was known take it for none.
    state = ctypes.c_void_p()
    places = (ctypes.c_int32 * len(cpus))(*cpus) if cpus else None
    options = OptionsStruct(
        size=ctypes.sizeof(OptionsStruct), threads=threads, gpu=gpu, cpus=places, cpu_count=len(cpus)
    )
    status = library.secateur_create(ctypes.byref(options), ctypes.byref(state))
    if status:
        raise SessionError(library.message(status))
    return state


def _release(library: Library, state: ctypes.c_void_p) -> None:
    library.secateur_free(state)
    library.close()


def _describe(get: Any, count: int) -> tuple[TensorInfo, ...]:
    def info(tensor: TensorStruct) -> TensorInfo:
        return TensorInfo(
            tensor.name.decode(), np.dtype(DTYPES[tensor.dtype]), tuple(tensor.dims[: tensor.rank])
        )

    return tuple(info(get(i).contents) for i in range(count))


def _quoted(names: Any) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))


def _listed(ports: Sequence[TensorInfo]) -> str:
    return ", ".join(str(port) for port in ports) or "none"


def _check_names(kind: str, given: Mapping[str, Any], ports: Sequence[TensorInfo]) -> None:
    known = {port.name for port in ports}
    if missing := known - given.keys():
        raise SessionError(f"missing {kind} {_quoted(missing)}; the model has {_listed(ports)}")
    if unknown := given.keys() - known:
        raise SessionError(f"unknown {kind} {_quoted(unknown)}; the model has {_listed(ports)}")


def _check_array(kind: str, port: TensorInfo, array: Array) -> None:
    if not isinstance(array, np.ndarray):
        raise SessionError(f"{kind} {port} must be a NumPy array, got {type(array).__name__}")
    if array.dtype != port.dtype or array.shape != port.shape:
        raise SessionError(f"{kind} {port} does not take {array.dtype}{list(array.shape)}")


def _source(port: TensorInfo, array: Array) -> Array:
    _check_array("input", port, array)
    return np.require(array, requirements=["C_CONTIGUOUS", "ALIGNED"])


def _target(port: TensorInfo, array: Array) -> Array:
    _check_array("output", port, array)
    if not (array.flags.c_contiguous and array.flags.aligned and array.flags.writeable):
        raise SessionError(f"output {port} needs a contiguous, aligned and writable array")
    return array


def _check_overlap(sources: Sequence[Array], results: Sequence[Array]) -> None:
    for i, result in enumerate(results):
        for other in (*sources, *results[:i]):
            if np.may_share_memory(result, other):
                raise SessionError("an output array overlaps an input or another output")


def _pointers(arrays: Sequence[Array]) -> Any:
    return _addresses([array.ctypes.data for array in arrays])


def _addresses(values: Sequence[int]) -> Any:
    return (ctypes.c_void_p * max(1, len(values)))(*values)
