"""Building kernels: by processes that know nothing of the user's program, from threads, and cut short."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import pytest

from secateur.codegen import build, folder
from secateur.codegen.backends.cpu.backend import BACKEND
from secateur.codegen.backends.cpu.objects import build_object
from secateur.codegen.build import build_kernels
from secateur.codegen.kernel import Kernel
from secateur.codegen.primitives.dense.float32 import DENSE
from secateur.codegen.primitives.specs import DenseSpec
from secateur.codegen.program import Module
from secateur.codegen.targets.rows import TARGETS
from secateur.ir.errors import SecateurError
from secateur.tools.fuzz.seeds import SEEDS
from tests.libc import share_builds
from tests.sampled import sampled

TARGET = TARGETS["x86-64-v3"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SECATEUR_CACHE", str(share_builds(tmp_path / "cache")))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.delenv(build.JOBS, raising=False)  # set for other tests
    monkeypatch.setattr(build, "FEW", 3)
    monkeypatch.setattr(build, "_LOADED", set())
    folder._usable.cache_clear()
    yield
    folder._usable.cache_clear()


SCRIPT = """
print('started')
import secateur, secateur.codegen.build as build
build.FEW, parallel, started = 0, build._build_in_parallel, []
build._build_in_parallel = lambda tasks, workers: started.append(workers) or parallel(tasks, workers)
secateur.compile('model.onnx', 'out.so')
print('done' if started or len(build.os.sched_getaffinity(0)) < 2 else 'alone')
"""


def _kernels(first: int, count: int) -> dict[str, Kernel]:
    sizes = range(first, first + count)
    return {f"dense{n}": DENSE.kernel(DenseSpec(1, n, 8), TARGET) for n in sizes}


def _children() -> set[str]:
    found = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
    return {pid for pid in found if "codegen.worker" in Path(f"/proc/{pid}/cmdline").read_text()}


def test_threads_that_build_side_by_side_get_their_own_kernels() -> None:
    """Same names, different kernels: whatever is shared between the threads would mix them up."""
    wanted = [{f"k{i}": kernel for i, kernel in enumerate(_kernels(n, 5).values())} for n in (4, 40)]
    cached: dict[str, Module] = {}
    found: list[Any] = [None, None]
    gate = threading.Barrier(2)

    def work(number: int) -> None:
        gate.wait()
        found[number] = list(build._build(wanted[number], TARGET, BACKEND.compile))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for kernels, objects in zip(wanted, found, strict=True):
        cached = {built.symbol: built for built in objects}
        assert cached.keys() == kernels.keys()
        for symbol, kernel in kernels.items():
            assert cached[symbol] == build_object(kernel, symbol, TARGET)


def test_workers_are_gone_when_building_ends_early() -> None:
    building = build._build(_kernels(4, 6), TARGET, BACKEND.compile)
    next(building)
    assert _children()
    building.close()
    assert not _children()


def test_workers_are_kept_for_the_builds_inside() -> None:
    """Those of a build that failed are not."""
    bad = Kernel("bad", "bad", partial(int, "no number"), 1)
    with build.workers_kept():
        list(build._build(_kernels(4, 6), TARGET, BACKEND.compile))
        kept = _children()
        assert len(kept) == 2
        (built,) = build._build(
            {"dense40": DENSE.kernel(DenseSpec(1, 40, 8), TARGET)}, TARGET, BACKEND.compile
        )
        assert _children() == kept
        assert built.code
        with pytest.raises(ValueError, match="no number"):
            list(build._build({"bad": bad, "worse": bad}, TARGET, BACKEND.compile))
        assert not _children()


def test_what_a_kernel_raises_arrives() -> None:
    kernels = _kernels(4, 5) | {"bad": Kernel("bad", "bad", partial(int, "no number"), 1)}
    with pytest.raises(ValueError, match="no number"):
        build_kernels(kernels, TARGET, BACKEND.compile)
    assert not _children()


def test_a_worker_that_dies_is_told_of() -> None:
    kernels = _kernels(4, 5) | {"deadly": Kernel("deadly", "deadly", partial(os._exit, 7), 1)}
    with pytest.raises(RuntimeError, match=r"the process that compiled kernel deadly died \(exit code 7\)"):
        build_kernels(kernels, TARGET, BACKEND.compile)
    assert not _children()


@pytest.mark.parametrize("end", [partial(signal.raise_signal, signal.SIGKILL), partial(bytes, 1 << 62)])
def test_a_worker_that_memory_does_not_suffice_for_is_an_error_that_helps(end: partial[Any]) -> None:
    kernels = _kernels(4, 5) | {"large": Kernel("large", "large", end, 1)}
    with pytest.raises(SecateurError, match=r"memory ran out, .*: the process that compiled kernel large"):
        build_kernels(kernels, TARGET, BACKEND.compile)
    assert not _children()


def test_as_many_processes_build_as_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    def build_in_parallel(_: Any, workers: int) -> Iterator[Module]:
        started.append(workers)
        return iter(())

    monkeypatch.setattr(build, "_build_in_parallel", build_in_parallel)
    for jobs in ("", "3", "1"):
        monkeypatch.setenv(build.JOBS, jobs)
        list(build._build(_kernels(4, 6), TARGET, BACKEND.compile))
    assert started == [2, 3]


@pytest.mark.parametrize("jobs", ["0", "-1", "two"])
def test_no_number_of_processes_is_refused(jobs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(build.JOBS, jobs)
    with pytest.raises(SecateurError, match=f"SECATEUR_JOBS={jobs} is no number of processes, from 1 on"):
        build_kernels(_kernels(4, 5), TARGET, BACKEND.compile)


def test_what_is_soon_built_is_built_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_LOADED", {BACKEND.compile})
    monkeypatch.setattr(build, "_START_SECONDS", 1000.0)
    building = build._build(_kernels(4, 6), TARGET, BACKEND.compile)
    assert [module.symbol for module in building if not _children()] == list(_kernels(4, 6))


def test_others_build_the_rest_where_it_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_LOADED", {BACKEND.compile})
    monkeypatch.setattr(build, "_START_SECONDS", 0.0)
    building = build._build(_kernels(4, 6), TARGET, BACKEND.compile)
    helped = [bool(_children()) for _ in building]
    assert helped == [False, True, True, True, True, True]


@pytest.mark.parametrize(
    ("pace", "kernels", "cores", "gain"),
    [(1.0, 10, 2, True), (0.1, 10, 2, False), (0.1, 60, 2, True), (60.0, 1, 16, False), (60.0, 9, 1, False)],
)
def test_others_must_gain_more_than_their_start_takes(
    pace: float, kernels: int, cores: int, gain: bool
) -> None:
    assert build._others_gain(pace, kernels, cores) is gain


@pytest.mark.parametrize("fed", sampled([False, True], [False]), ids=["file", "stdin"])
def test_a_script_needs_no_guard(tmp_path: Path, fed: bool) -> None:
    """What starts workers must not run the user's script again in them."""
    onnx.save(SEEDS[0].model(), tmp_path / "model.onnx")
    (tmp_path / "script.py").write_text(SCRIPT)
    words = [sys.executable, "-"] if fed else [sys.executable, "script.py"]
    done = subprocess.run(
        words, cwd=tmp_path, input=SCRIPT if fed else None, capture_output=True, text=True, timeout=600
    )
    assert (done.returncode, done.stdout) == (0, "started\ndone\n"), done.stderr
    assert (tmp_path / "out.so").exists()
