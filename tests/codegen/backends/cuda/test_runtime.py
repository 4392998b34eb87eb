"""The runtime on a GPU, against a stand-in for its driver: order, copies, graphs, and every failure."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import secateur
from secateur.ir import interpreter
from secateur.ir.noise import noise
from secateur.runtime.library import GPU_NO_GRAPH, GPU_SHARED, OptionsStruct
from secateur.runtime.session import Session, SessionError
from tests.passes.texts import build

from ...simt.emulator import Gpu, configure, stand_in
from .networks import FLOATS, compiled, inputs
from .test_boards import FLOATS_ALONE

pytestmark = pytest.mark.usefixtures("gpu")
WAYS: dict[str, Mapping[str, bool]] = {
    "as one graph": {},
    "one by one": {"graph": False},
    "in shared memory": {"shared": True},
    "in shared memory, one by one": {"shared": True, "graph": False},
}


def check(found: Mapping[str, np.ndarray]) -> None:
    for name, value in interpreter.run(build(FLOATS), inputs()).items():
        np.testing.assert_allclose(found[name], value, 2e-6, 2e-6)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_run_gives_the_same(floats: Path, way: str) -> None:
    before = stand_in().simt_replays()
    with secateur.load(floats, cpus=(), **WAYS[way]) as session:
        for _ in range(2):
            check(session.run(inputs()))
    assert stand_in().simt_replays() - before == 2 * WAYS[way].get("graph", True)


def test_without_graphs_kernels_are_launched(floats: Path) -> None:
    configure(Gpu(graphs=False))
    before = stand_in().simt_replays()
    with secateur.load(floats) as session:
        check(session.run(inputs()))
    assert stand_in().simt_replays() == before


@pytest.mark.parametrize(
    "function", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiate", "cuLaunchKernel"]
)
def test_where_a_graph_cannot_be_made_kernels_are_launched(floats: Path, function: str) -> None:
    stand_in().simt_fail(function.encode(), 0, 719)
    with secateur.load(floats) as session:
        configure()
        before = stand_in().simt_replays()
        check(session.run(inputs()))
        assert stand_in().simt_replays() == before


def test_a_states_own_buffers_are_not_copied(floats: Path) -> None:
    """What the GPU reads and writes are these very bytes, where its memory is shared."""
    with secateur.load(floats, shared=True) as session:
        given = [_array(session, "input", i) for i in range(len(session.inputs))]
        found = [_array(session, "output", i) for i in range(len(session.outputs))]
        assert session._library.secateur_input_buffer(session._state, len(given)) is None
        assert session._library.secateur_output_buffer(session._state, -1) is None
        for port, array in zip(session.inputs, given, strict=True):
            array[...] = inputs()[port.name]
        session._call(session._library.secateur_run, given, found)
        check({port.name: array for port, array in zip(session.outputs, found, strict=True)})


def _array(session: Session, kind: str, index: int) -> np.ndarray:
    port = getattr(session, kind + "s")[index]
    place = getattr(session._library, f"secateur_{kind}_buffer")(session._state, index)
    size = int(np.prod(port.shape)) * port.dtype.itemsize
    array: np.ndarray = np.frombuffer((ctypes.c_char * size).from_address(place), port.dtype)
    return array.reshape(port.shape)


def test_two_states_do_not_meet(floats: Path) -> None:
    with secateur.load(floats) as first, secateur.load(floats, shared=True) as second:
        other = {name: value + 1 for name, value in inputs().items()}
        wanted = second.run(other)
        check(first.run(inputs()))
        for name, value in second.run(other).items():
            np.testing.assert_array_equal(value, wanted[name])


def test_two_models_do_not_meet(floats: Path, tmp_path: Path) -> None:
    """In one process, their kernels on one GPU."""
    graph = build(FLOATS_ALONE)
    given, path = noise(graph), compiled(graph, tmp_path).path
    wanted = interpreter.run(graph, given)["y"]
    with secateur.load(floats) as first, secateur.load(path) as second:
        for _ in range(2):
            check(first.run(inputs()))
            np.testing.assert_allclose(second.run(given)["y"], wanted, 2e-6, 2e-6)
    with secateur.load(path) as again:
        np.testing.assert_allclose(again.run(given)["y"], wanted, 2e-6, 2e-6)


def test_a_profile_has_the_gpus_times(floats: Path) -> None:
    """The emulator's launches take a millisecond each."""
    with secateur.load(floats) as session:
        rows = session.profile(inputs())
        assert {row.ns for row in rows} == {1_000_000}
        assert len(rows) == len(session.manifest["operators"])


@pytest.mark.parametrize(
    ("gpu_is", "message"),
    [
        (Gpu(devices=0), "the driver finds no GPU"),
        (Gpu(capability=72), "compiled for sm_75 or later, this GPU (an emulator) is sm_72"),
        (Gpu(driver=9020, ptx=62), "the GPU's driver (CUDA 9.2) does not take PTX 6.3 for sm_75"),
        (Gpu(memory=1000), "the GPU has no memory for the model: it needs 1 MiB"),
    ],
)
def test_what_cannot_be_is_said(floats: Path, gpu_is: Gpu, message: str) -> None:
    configure(gpu_is)
    with pytest.raises(SessionError, match=re.escape(message)):
        secateur.load(floats)
    assert stand_in().simt_live() == 0


FATAL = {  # to a state that is made, by what it is made with
    "cuInit", "cuCtxGetCurrent", "cuDeviceGetCount", "cuDeviceGet", "cuDevicePrimaryCtxRetain",
    "cuDeviceGetAttribute", "cuCtxPushCurrent_v2", "cuStreamCreate", "cuModuleLoadData",
    "cuModuleGetFunction", "cuMemHostAlloc", "cuMemAlloc_v2", "cuMemcpyHtoDAsync_v2", "cuStreamSynchronize",
}  # fmt: skip


@pytest.mark.parametrize("function", sorted(FATAL))
@pytest.mark.parametrize(("code", "name"), [(719, "CUDA_ERROR_LAUNCH_FAILED"), (2, "memory")])
def test_a_failed_create_is_said(floats: Path, function: str, code: int, name: str) -> None:
    stand_in().simt_fail(function.encode(), 0, code)
    with pytest.raises(SessionError, match=name):
        secateur.load(floats)
    configure()
    assert stand_in().simt_live() == 0


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("code", [2, 719])
def test_whichever_call_fails_nothing_is_left(floats: Path, code: int, shared: bool) -> None:
    """A state is made, run, profiled and freed; the first call of the driver fails, then the second, ..."""
    said = []
    for number in range(1000):
        stand_in().simt_fail(b"", number, code)
        said.append(_lives(floats, shared))
        failed = bool(stand_in().simt_failed())
        configure()
        assert stand_in().simt_live() == 0
        if not failed:
            break
    assert 40 < number < 999
    assert said.count("") >= 4  # a device without a name, a graph that could not be made
    assert all(re.search("the GPU|the driver|the host has no memory", words) for words in said if words)


def _lives(path: Path, shared: bool) -> str:
    """What was said to have failed; where nothing was, the answers are right."""
    try:
        with secateur.load(path, shared=shared) as session:
            check(session.run(inputs()))
            session.profile(inputs())
            check(session.run(inputs()))
    except SessionError as error:
        return str(error)
    return ""


PLAIN = ("cuLaunchKernel", "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuStreamSynchronize")


@pytest.mark.parametrize(
    ("function", "graph"), [*((name, False) for name in PLAIN), ("cuGraphLaunch", True), (PLAIN[-1], True)]
)
def test_a_failed_run_is_said_and_the_next_one_runs(floats: Path, function: str, graph: bool) -> None:
    with secateur.load(floats, graph=graph) as session:
        stand_in().simt_fail(function.encode(), 0, 719)
        with pytest.raises(SessionError, match="the GPU's driver failed at a run"):
            session.run(inputs())
        configure()
        check(session.run(inputs()))


def test_a_run_without_its_context_leaves_the_callers_alone(floats: Path) -> None:
    with secateur.load(floats) as session:
        stand_in().cuCtxPushCurrent_v2(None)
        stand_in().simt_fail(b"cuCtxPushCurrent_v2", 0, 719)
        with pytest.raises(SessionError, match="the GPU's driver failed at its context"):
            session.run(inputs())
        configure()
        assert stand_in().cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p())) == 0


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_failed_profile_leaves_no_events(floats: Path, after: int) -> None:
    with secateur.load(floats) as session:
        stand_in().simt_fail(b"cuEventCreate", after, 2)
        with pytest.raises(SessionError, match="the GPU has no memory for a run"):
            session.profile(inputs())


def places(arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    return {name: array.ctypes.data for name, array in arrays.items()}


def blank(session: Session) -> dict[str, np.ndarray]:
    """16-byte aligned, as NumPy's memory is."""
    return {port.name: np.zeros(port.shape, port.dtype) for port in session.outputs}


def test_pointers_into_the_gpus_memory_and_a_stream_are_taken(floats: Path) -> None:
    """Here the GPU's memory is this machine's. What is queued is done when the stream is waited for."""
    stream = ctypes.c_void_p()
    with secateur.load(floats) as session:
        stand_in().cuStreamCreate(ctypes.byref(stream), 1)
        given, found = inputs(), blank(session)
        session.run_device(places(given), places(found), stream.value or 0)
        assert not any(array.any() for array in found.values())
        assert stand_in().cuStreamSynchronize(stream) == 0
        check(found)
        stand_in().cuStreamDestroy_v2(stream)
        other = blank(session)
        session.run_device(places(given), places(other))
        check(other)


def test_pointers_that_are_not_aligned_or_no_ports_are_refused(floats: Path) -> None:
    with secateur.load(floats) as session:
        arrays, results = inputs(), blank(session)
        given, found = places(arrays), places(results)
        with pytest.raises(SessionError, match="an argument is null or out of range"):
            session.run_device({name: place + 4 for name, place in given.items()}, found)
        with pytest.raises(SessionError, match="missing output 's'"):
            session.run_device(given, {"y": found["y"]})
        session.close()
        with pytest.raises(SessionError, match="closed"):
            session.run_device(given, found)


def test_the_callers_context_is_used(floats: Path) -> None:
    """No other is retained then, and it stays current."""
    assert stand_in().cuCtxPushCurrent_v2(None) == 0
    stand_in().simt_fail(b"cuDevicePrimaryCtxRetain", 0, 719)
    with secateur.load(floats) as session:
        check(session.run(inputs()))
    assert stand_in().simt_live() == 1
    assert stand_in().cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p())) == 0


@pytest.mark.parametrize(
    ("gpu_options", "status"), [(0, 0), (GPU_SHARED | GPU_NO_GRAPH, 0), (4, 8), (1 << 63, 8)]
)
def test_options_that_are_not_known_are_refused(floats: Path, gpu_options: int, status: int) -> None:
    with secateur.load(floats) as session:
        library: Any = session._library
        options = OptionsStruct(size=ctypes.sizeof(OptionsStruct), threads=1, gpu=gpu_options)
        state = ctypes.c_void_p()
        assert library.secateur_create(ctypes.byref(options), ctypes.byref(state)) == status
        library.secateur_free(state)
