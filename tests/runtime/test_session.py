"""Running artifacts from Python."""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import shutil
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from secateur.codegen import sources
from secateur.codegen.artifact import write_artifact
from secateur.codegen.program import Port, Program
from secateur.codegen.targets import processor
from secateur.ir.types import DType
from secateur.runtime import session
from secateur.runtime.library import Library, OptionsStruct
from secateur.runtime.manifest import ArtifactError
from secateur.runtime.session import SessionError, TensorInfo, load, this_machine

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the test model is x86-64 code")


def _image(programs: ModuleType, seed: int = 0) -> np.ndarray:
    shape = (programs.ROWS, programs.COLUMNS)
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_answers_are_the_same_bits_for_any_number_of_threads(
    model_so: Path, programs: ModuleType, threads: int
) -> None:
    with load(model_so, threads) as session:
        for seed in range(50):
            x = _image(programs, seed)
            outputs = session.run({"x": x})
            y, total = programs.expected(x)
            np.testing.assert_array_equal(outputs["y"], y)
            np.testing.assert_array_equal(outputs["total"], total)


def test_ports_are_described(model_so: Path, programs: ModuleType) -> None:
    shape = (programs.ROWS, programs.COLUMNS)
    with load(model_so) as session:
        assert session.inputs == (TensorInfo("x", np.dtype("float32"), shape),)
        assert [port.name for port in session.outputs] == ["y", "total"]
        assert session.outputs[1].shape == shape[:1]
        assert session.manifest["producer"] == "test"


def test_arena_bytes_agree_with_the_manifest(model_so: Path) -> None:
    for threads in (1, 2, 5):
        with load(model_so, threads) as session:
            manifest = session.manifest
            assert session.arena_bytes == manifest["arena_bytes"] + (threads - 1) * manifest["thread_bytes"]


def test_profile_names_operators_in_order(model_so: Path, programs: ModuleType) -> None:
    with load(model_so) as session:
        rows = session.profile({"x": _image(programs)})
    assert [row.label for row in rows] == ['mul "1"', "relu_1", "sum_1"]
    assert [row.operator for row in rows] == ["nn.mul", "nn.relu", "nn.sum"]
    assert rows[0].macs == programs.ROWS * programs.COLUMNS
    assert all(row.ns > 0 for row in rows)


def test_contiguous_arrays_are_used_in_place(model_so: Path, programs: ModuleType) -> None:
    x = _image(programs)
    y = np.full(x.shape, np.nan, np.float32)
    with load(model_so) as session:
        outputs = session.run({"x": x}, out={"y": y})
    assert outputs["y"] is y
    np.testing.assert_array_equal(y, programs.expected(x)[0])


def test_other_inputs_are_copied(model_so: Path, programs: ModuleType) -> None:
    x = _image(programs)
    unaligned = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape)
    with load(model_so) as session:
        for other in (np.asfortranarray(x), x[::-1][::-1], unaligned):
            np.testing.assert_array_equal(session.run({"x": other})["y"], programs.expected(x)[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: {}, "missing input 'x'; the model has 'x' float32"),
        (lambda x: {"x": x, "z": x}, "unknown input 'z'"),
        (lambda x: {"x": x.astype(np.float64)}, r"does not take float64\[37, 24\]"),
        (lambda x: {"x": x.astype(">f4")}, "does not take >f4"),
        (lambda x: {"x": x[:-1]}, r"does not take float32\[36, 24\]"),
        (lambda x: {"x": x.tolist()}, "must be a NumPy array, got list"),
    ],
)
def test_wrong_inputs_are_refused(model_so: Path, programs: ModuleType, change: object, message: str) -> None:
    assert callable(change)
    with load(model_so) as session, pytest.raises(SessionError, match=message):
        session.run(change(_image(programs)))


def _read_only(x: np.ndarray) -> dict[str, np.ndarray]:
    y = np.empty_like(x)
    y.flags.writeable = False
    return {"y": y}


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (lambda x: {"q": x}, "unknown output 'q'; the model has 'y' float32"),
        (lambda x: {"y": x}, "overlaps an input"),
        (lambda x: {"y": np.empty_like(x, order="F")}, "needs a contiguous"),
        (_read_only, "needs a contiguous, aligned and writable"),
        (lambda _: {"total": np.empty(3, np.float32)}, "output 'total' float32.* does not take"),
    ],
)
def test_wrong_outputs_are_refused(model_so: Path, programs: ModuleType, out: object, message: str) -> None:
    assert callable(out)
    x = _image(programs)
    with load(model_so) as session, pytest.raises(SessionError, match=message):
        session.run({"x": x}, out=out(x))


@pytest.mark.parametrize("threads", [-1, 0, 257, 2**32 + 1])
def test_absurd_thread_counts_are_refused(model_so: Path, threads: int) -> None:
    with pytest.raises(SessionError, match=f"threads must be 1 to 256, got {threads}"):
        load(model_so, threads)


def test_a_closed_session_refuses(model_so: Path, programs: ModuleType) -> None:
    session = load(model_so, 2)
    session.close()
    session.close()
    with pytest.raises(SessionError, match="closed"):
        session.run({"x": _image(programs)})


def test_a_forgotten_session_is_freed(model_so: Path) -> None:
    before = threading.active_count(), len(os.listdir("/proc/self/task"))
    session = load(model_so, 4)
    assert len(os.listdir("/proc/self/task")) == before[1] + 3
    del session
    gc.collect()
    assert len(os.listdir("/proc/self/task")) == before[1]


def test_sessions_and_threads_do_not_disturb_each_other(model_so: Path, programs: ModuleType) -> None:
    wrong: list[int] = []
    with load(model_so, 2) as shared, load(model_so) as other:

        def work(seed: int) -> None:
            x = _image(programs, seed)
            for _ in range(100):
                for session in (shared, other):
                    if not np.array_equal(session.run({"x": x})["y"], programs.expected(x)[0]):
                        wrong.append(seed)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_a_child_process_runs_without_the_parents_threads(model_so: Path, programs: ModuleType) -> None:
    x = _image(programs)
    with load(model_so, 3) as session:
        pid = os.fork()
        if pid == 0:
            good = np.array_equal(session.run({"x": x})["y"], programs.expected(x)[0])
            session.close()
            os._exit(0 if good else 1)
        assert os.waitpid(pid, 0)[1] == 0


def test_an_artifact_replaced_on_disk_is_loaded_anew(programs: ModuleType, tmp_path: Path) -> None:
    path = write_artifact(programs.scale_relu_sum(name="first"), tmp_path / "model.so")
    with load(path) as first:
        write_artifact(programs.scale_relu_sum(name="second", rows=5), path)
        with load(path) as second:
            assert first.inputs[0].shape == (programs.ROWS, programs.COLUMNS)
            assert second.inputs[0].shape == (5, programs.COLUMNS)


def test_a_missing_processor_feature_is_named(programs: ModuleType, tmp_path: Path) -> None:
    program = programs.with_features(programs.scale_relu_sum(), "sse2", "fma4", "avx512fp16")
    with open("/proc/cpuinfo") as cpuinfo:
        flags = cpuinfo.read().split()
    missing = "avx512fp16" if "fma4" in flags else "fma4"
    path = write_artifact(program, tmp_path / "model.so")
    with pytest.raises(SessionError, match=f"this processor lacks '{missing}', which the model needs"):
        load(path)


def test_tiles_are_asked_of_the_system(programs: ModuleType, tmp_path: Path) -> None:
    """Where they are not to be had, what to look for is said."""
    path = write_artifact(
        programs.with_features(programs.scale_relu_sum(), "amx-tile"), tmp_path / "model.so"
    )
    if "amx-tile" in processor.features():
        load(path).close()
        return
    with pytest.raises(SessionError, match="lacks 'amx-tile', or its system does not grant it, which the"):
        load(path)


def test_a_library_of_another_machine_is_refused(programs: ModuleType, tmp_path: Path) -> None:
    path = write_artifact(programs.scale_relu_sum(programs.AARCH64), tmp_path / "model.so")
    with pytest.raises(ArtifactError, match="made for aarch64, this machine is x86_64"):
        load(path)


@pytest.mark.parametrize("version", [1, None, 3])
def test_another_version_of_the_c_interface_is_refused_before_its_code_is_loaded(
    programs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int | None
) -> None:
    fresh = sources.manifest

    def other(program: Program) -> dict[str, Any]:
        return fresh(program) | {"abi": version}

    monkeypatch.setattr(sources, "manifest", other)
    path = write_artifact(programs.scale_relu_sum(), tmp_path / "old.so")
    monkeypatch.setattr(session, "Library", None)
    with pytest.raises(
        ArtifactError, match=rf"old.so: has version {version} of the C .*; compile the model again"
    ):
        load(path)


def test_folder_and_tar_are_loaded(model_dir: Path, programs: ModuleType, tmp_path: Path) -> None:
    tar = write_artifact(programs.scale_relu_sum(), tmp_path / "tiny.tar", "tar")
    x = _image(programs)
    for path in (model_dir, tar, model_dir / "model.so"):
        with load(path) as session:
            np.testing.assert_array_equal(session.run({"x": x})["y"], programs.expected(x)[0])


class _Raw:
    """The C interface without the Python session."""

    def __init__(self, path: Path) -> None:
        self.library = Library(path)

    def create(self, **options: object) -> tuple[int, ctypes.c_void_p]:
        state = ctypes.c_void_p()
        given = OptionsStruct(**({"size": ctypes.sizeof(OptionsStruct)} | options))
        status = self.library.secateur_create(ctypes.byref(given), ctypes.byref(state))
        return status, state


def _aligned(size: int) -> tuple[np.ndarray, int]:
    block = np.zeros(size + 128, np.uint8)
    return block, (block.ctypes.data + 63) // 64 * 64


def test_caller_supplies_arena_and_weights(model_so: Path, programs: ModuleType, tmp_path: Path) -> None:
    raw = _Raw(Path(shutil.copy(model_so, tmp_path)))
    size = raw.library.secateur_arena_bytes(2)
    arena, at = _aligned(size)
    _weights, weights_at = _aligned(raw.library.secateur_weights_bytes())
    status, state = raw.create(
        threads=2,
        arena=at,
        arena_bytes=size,
        weights=weights_at,
        weights_bytes=raw.library.secateur_weights_bytes(),
    )
    assert status == 0
    assert state.value == at
    x, y, total = _image(programs), np.ones((37, 24), np.float32), np.ones(37, np.float32)
    sources, results = (
        (ctypes.c_void_p * 1)(x.ctypes.data),
        (ctypes.c_void_p * 2)(y.ctypes.data, total.ctypes.data),
    )
    assert raw.library.secateur_run(state, sources, results) == 0
    raw.library.secateur_free(state)
    assert not y.any()  # the caller's weights are all zero
    outside = arena[: at - arena.ctypes.data].any() or arena[at - arena.ctypes.data + size :].any()
    assert not outside


def test_c_interface_refuses_bad_arguments(model_so: Path) -> None:
    raw = _Raw(model_so)
    message = raw.library.message
    size, weights = raw.library.secateur_arena_bytes(1), raw.library.secateur_weights_bytes()
    _, at = _aligned(size)
    assert "arena" in message(raw.create(arena=at, arena_bytes=size - 1)[0])
    assert "arena" in message(raw.create(arena=at + 4, arena_bytes=size)[0])
    assert "weights" in message(raw.create(weights=at, weights_bytes=weights + 1)[0])
    assert "weights" in message(raw.create(weights=at + 1, weights_bytes=weights)[0])
    assert "argument" in message(raw.create(threads=-1)[0])
    status, state = raw.create()
    assert status == 0
    assert "argument" in message(raw.library.secateur_run(state, None, None))
    empty = (ctypes.c_void_p * 2)()
    assert "argument" in message(raw.library.secateur_run(state, empty, empty))
    raw.library.secateur_free(state)
    assert not raw.library.secateur_input(1)
    assert not raw.library.secateur_operator_at(-1)
    assert raw.library.secateur_arena_bytes(0) == 0


def test_threads_run_where_the_caller_says(model_so: Path, programs: ModuleType) -> None:
    with load(model_so, threads=3, cpus=sorted(os.sched_getaffinity(0))[:1]) as session:
        np.testing.assert_array_equal(
            session.run({"x": _image(programs)})["y"], programs.expected(_image(programs))[0]
        )
    with pytest.raises(SessionError, match="not on the processors asked for"):
        load(model_so, threads=2, cpus=[-1])


def test_every_element_type_is_described(programs: ModuleType, tmp_path: Path) -> None:
    names = ("f32", "f16", "f64", "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64", "bool")
    ports = tuple(Port(name, name, (2, 3)) for name in names)
    program = Program("types", programs.X86, ports, (), (), (), (), (), 0, 0)
    with load(write_artifact(program, tmp_path / "types.so"), threads=2) as session:
        assert [port.dtype for port in session.inputs] == [DType(name).numpy for name in names]
        assert session.run({port.name: np.zeros(port.shape, port.dtype) for port in session.inputs}) == {}
        assert session.profile({port.name: np.ones(port.shape, port.dtype) for port in session.inputs}) == []


def test_scalars_and_empty_tensors_are_ports(programs: ModuleType, tmp_path: Path) -> None:
    program = Program(
        "none", programs.X86, (Port("s", "f32", ()),), (Port("e", "i64", (0, 4)),), (), (), (), (), 0, 0
    )
    with load(write_artifact(program, tmp_path / "none.so")) as session:
        assert session.run({"s": np.array(1, np.float32)})["e"].shape == (0, 4)


@pytest.mark.parametrize(
    ("kernel", "pointer", "machine"),
    [("aarch64", 8, "aarch64"), ("aarch64", 4, "arm"), ("armv7l", 4, "arm"), ("arm64", 8, "aarch64")],
)
def test_the_process_decides_the_machine_and_not_the_kernel(
    monkeypatch: pytest.MonkeyPatch, kernel: str, pointer: int, machine: str
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: kernel)
    monkeypatch.setattr(ctypes, "sizeof", lambda _: pointer)
    assert this_machine() == machine


def test_options_that_are_not_asked_for_are_zero() -> None:
    """Models made before a field was known refuse all else."""
    seen: list[bytes] = []

    class Recording:
        def secateur_create(self, options: Any, _state: Any) -> int:
            seen.append(bytes(options._obj))
            return 0

    session._create(Recording(), 1, 0, ())  # type: ignore[arg-type]
    assert not any(seen[0][OptionsStruct.arena.offset :])
