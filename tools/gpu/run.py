"""The half of gpu-check that runs where the GPU is: Python, NumPy and the driver, and nothing else of ours.

    python run.py FOLDER [--seconds 480] [--no-peers]

FOLDER is what `secateur.tools.gpu.build` wrote, this file included. First every answer is checked, then
groups of artifacts are timed in turn, beside cuDNN where PyTorch is installed. After each case results.json
and results.md are written anew, so that nothing is lost when time is up.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import time
from collections.abc import Callable, Iterator
from ctypes import byref, c_char_p, c_float, c_int, c_size_t, c_uint64, c_void_p
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

ROUNDS, REPEATS = 7, 10  # turns of each contestant; runs in one graph
TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2}  # of an output's largest magnitude; in bytes there is none
Array = np.ndarray[Any, Any]
Step = dict[str, Any]
Timer = Callable[[], float]


class DriverError(Exception):
    """The driver failed, or a model said that it cannot run."""


class Driver:
    """What is used of CUDA's driver, on the first GPU's primary context."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL("libcuda.so.1")
        self.context, self.stream, device = c_void_p(), c_void_p(), c_int()
        self("cuInit", 0)
        self("cuDeviceGet", byref(device), 0)
        self("cuDevicePrimaryCtxRetain", byref(self.context), device)
        self("cuCtxPushCurrent_v2", self.context)
        self("cuStreamCreate", byref(self.stream), 1)
        self.device = device
        self.begin, self.end = self.event(), self.event()

    def __call__(self, name: str, *arguments: Any) -> None:
        result = getattr(self.library, name)(*arguments)
        if result:
            raise DriverError(f"{name}: CUDA error {result}")

    def close(self) -> None:
        for event in (self.begin, self.end):
            self("cuEventDestroy_v2", event)
        self("cuStreamDestroy_v2", self.stream)
        self("cuCtxPopCurrent_v2", byref(c_void_p()))
        self("cuDevicePrimaryCtxRelease", self.device)

    def event(self) -> c_void_p:
        made = c_void_p()
        self("cuEventCreate", byref(made), 0)
        return made

    def about(self) -> dict[str, Any]:
        name, version, major, minor = ctypes.create_string_buffer(128), c_int(), c_int(), c_int()
        self("cuDeviceGetName", name, 128, self.device)
        self("cuDriverGetVersion", byref(version))
        self("cuDeviceGetAttribute", byref(major), 75, self.device)
        self("cuDeviceGetAttribute", byref(minor), 76, self.device)
        cuda = f"{version.value // 1000}.{version.value % 1000 // 10}"
        return {"device": name.value.decode(), "architecture": f"sm_{major.value}{minor.value}", "cuda": cuda}

    def allocate(self, size: int) -> int:
        pointer = c_uint64()
        self("cuMemAlloc_v2", byref(pointer), c_size_t(max(1, size)))
        return pointer.value

    def send(self, pointer: int, array: Array) -> None:
        size = c_size_t(array.nbytes)
        self("cuMemcpyHtoDAsync_v2", c_uint64(pointer), c_void_p(array.ctypes.data), size, self.stream)
        self.wait()

    def wait(self) -> None:
        self("cuStreamSynchronize", self.stream)

    def captured(self, work: Callable[[], None]) -> Callable[[], None]:
        """What replays `work` as one graph, or `work` where the driver has none."""
        graph, replay = c_void_p(), c_void_p()
        try:
            self("cuStreamBeginCapture_v2", self.stream, 2)
            work()
            self("cuStreamEndCapture", self.stream, byref(graph))
            self("cuGraphInstantiate", byref(replay), graph, None, None, c_size_t(0))
            self("cuGraphDestroy", graph)
        except DriverError:
            return work
        return lambda: self("cuGraphLaunch", replay, self.stream)

    def milliseconds(self, work: Callable[[], None]) -> float:
        """Of work queued on the stream, by events."""
        ms = c_float()
        self("cuEventRecord", self.begin, self.stream)
        work()
        self("cuEventRecord", self.end, self.stream)
        self("cuEventSynchronize", self.end)
        self("cuEventElapsedTime", byref(ms), self.begin, self.end)
        return ms.value


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("name", c_char_p), ("dtype", c_int), ("rank", c_int), ("dims", ctypes.POINTER(ctypes.c_int64)),
        ("bytes", c_uint64),
    )  # fmt: skip


class Model:
    """An artifact with one state."""

    def __init__(self, path: Path) -> None:
        self.library = ctypes.CDLL(str(path.resolve()), mode=os.RTLD_LOCAL)
        for name in ("secateur_input", "secateur_output"):
            getattr(self.library, name).restype = ctypes.POINTER(_Tensor)
        self.library.secateur_message.restype = c_char_p
        self.state = c_void_p()
        self.check(self.library.secateur_create(None, byref(self.state)))
        self.inputs = self._sizes("input")
        self.outputs = self._sizes("output")

    def _sizes(self, kind: str) -> list[int]:
        count = getattr(self.library, f"secateur_{kind}_count")()
        return [getattr(self.library, f"secateur_{kind}")(i).contents.bytes for i in range(count)]

    def check(self, status: int) -> None:
        if status:
            raise DriverError(self.library.secateur_message(status).decode())

    def run(self, arrays: list[Array]) -> list[Array]:
        """On the host's arrays, and the outputs' bytes."""
        found = [np.zeros(size, np.uint8) for size in self.outputs]
        self.check(self.library.secateur_run(self.state, _pointers(arrays), _pointers(found)))
        return found

    def queue(self, inputs: list[int], outputs: list[int], stream: c_void_p) -> None:
        given, found = (c_void_p * len(inputs))(*inputs), (c_void_p * len(outputs))(*outputs)
        self.check(self.library.secateur_run_device(self.state, given, found, stream))

    def close(self) -> None:
        self.library.secateur_free(self.state)


def _pointers(arrays: list[Array]) -> Any:
    return (c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))


def check(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    """The case's row: by how much the worst output differs, and whether it may."""
    with np.load(folder / case["answers"]) as file:
        given = [np.ascontiguousarray(file[f"input{i}"]) for i in range(case["inputs"])]
        wanted = [file[f"output{i}"] for i in range(case["outputs"])]
    model = Model(folder / case["file"])
    try:
        found = model.run(given)
    finally:
        model.close()
    worst = max(
        _difference(raw.view(w.dtype).reshape(w.shape), w) for raw, w in zip(found, wanted, strict=True)
    )
    return {"name": case["name"], "worst": worst, "ok": worst <= TOLERANCE.get(case["precision"], 0.0)}


def _difference(found: Array, wanted: Array) -> float:
    """Relative to the largest magnitude; infinite where one has no number."""
    found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    if not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(found - wanted).max(initial=0) / max(np.abs(wanted).max(initial=0), 1e-30))


class Ours:
    """A contestant: an artifact on memory of the GPU's."""

    def __init__(self, driver: Driver, folder: Path, case: dict[str, Any]) -> None:
        self.driver, self.model = driver, Model(folder / case["file"])
        self.inputs = [driver.allocate(size) for size in self.model.inputs]
        self.outputs = [driver.allocate(size) for size in self.model.outputs]
        for pointer, size in zip(self.inputs, self.model.inputs, strict=True):
            driver.send(pointer, np.full(size, 60, np.uint8))  # a small number as a float, too
        self._work()
        driver.wait()
        self.replay = driver.captured(self._work)

    def _work(self) -> None:
        for _ in range(REPEATS):
            self.model.queue(self.inputs, self.outputs, self.driver.stream)

    def __call__(self) -> float:
        return self.driver.milliseconds(self.replay) / REPEATS

    def close(self) -> None:
        self.driver.wait()
        for pointer in (*self.inputs, *self.outputs):
            self.driver("cuMemFree_v2", c_uint64(pointer))
        self.model.close()


def _torch() -> Any:
    """PyTorch with a GPU and cuDNN, or None."""
    try:
        import torch
    except ImportError:
        return None
    return torch if torch.cuda.is_available() and torch.backends.cudnn.is_available() else None


class Network:
    """What a row's steps compute, in PyTorch; `weights` are pairs (weight, bias) by a step's output."""

    def __init__(self, torch: Any, steps: list[Step], weights: dict[str, tuple[Any, Any]]) -> None:
        self.f, self.steps, self.weights = torch.nn.functional, steps, weights

    def __call__(self, x: Any) -> Any:
        values = {"input": x}
        for step in self.steps:
            given = [values[name] for name in step["inputs"]]
            values[step["output"]] = y = self._step(step, *given)
        return y

    def _step(self, step: Step, x: Any, *more: Any) -> Any:
        kind = step["op"]
        if kind in ("Conv", "Gemm"):
            weight, bias = self.weights[step["output"]]
            if kind == "Gemm":
                return self.f.linear(x, weight, bias)
            return self.f.conv2d(x, weight, bias, step["stride"], step["pad"])
        if kind in ("MaxPool", "AveragePool"):
            pool = self.f.max_pool2d if kind == "MaxPool" else self.f.avg_pool2d
            return pool(x, step["kernel"], step["stride"], step["pad"], ceil_mode=step["ceil"])
        if kind == "GlobalAveragePool":
            return x.mean((2, 3), keepdim=True)
        if kind == "Flatten":
            return x.flatten(1)
        return x + more[0] if kind == "Add" else self.f.relu(x, inplace=True)


def invented(torch: Any, steps: list[Step], kind: Any, form: Any) -> dict[str, tuple[Any, Any]]:
    """Weights of a network on the GPU."""
    found = {}
    for step in steps:
        if shape := step.get("weight"):
            weight = torch.randn(shape, device="cuda", dtype=kind) * (2 / (weight_terms(shape))) ** 0.5
            bias = torch.zeros(shape[0], device="cuda", dtype=kind)
            found[step["output"]] = (weight.to(memory_format=form) if len(shape) == 4 else weight, bias)
    return found


def weight_terms(shape: list[int]) -> int:
    """Products in a sum."""
    terms = 1
    for extent in shape[1:]:
        terms *= extent
    return terms


def peer(torch: Any, row: dict[str, Any], precision: str) -> Timer:
    """cuDNN's best algorithms for a row's network, by `benchmark` and replayed as a graph."""
    kind = {"fp32": torch.float32, "fp16": torch.float16}[precision]
    torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = True, False
    form = torch.channels_last if precision == "fp16" else torch.contiguous_format
    x = torch.randn(row["input"], device="cuda", dtype=kind).to(memory_format=form)
    network = Network(torch, row["steps"], invented(torch, row["steps"], kind, form))
    return _graphed(torch, lambda: network(x))


def _graphed(torch: Any, work: Callable[[], Any]) -> Timer:
    with torch.no_grad():
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            for _ in range(3):
                work()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(REPEATS):
                work()
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)

    def timed() -> float:
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / REPEATS

    return timed


class Contest:
    """One group: all its contestants in turn, round after round."""

    def __init__(self, rows: list[dict[str, Any]], torch: Any) -> None:
        self.rows, self.torch = rows, torch

    def run(self, driver: Driver, folder: Path) -> list[dict[str, Any]]:
        ours: list[Ours] = []
        timers: dict[str, Timer] = {}
        results: list[dict[str, Any]] = []
        try:
            for row in self.rows:
                made = self._entry(driver, folder, row, results)
                if made is not None:
                    ours.append(made)
                    timers[row["precision"]] = made
            timers |= dict(self._peers(results))
            turns: dict[str, list[float]] = {name: [] for name in timers}
            for _ in range(ROUNDS):
                for name, timer in timers.items():
                    turns[name].append(timer())
        finally:
            for made in ours:
                made.close()
        group = self.rows[0]["group"]
        return results + [{"group": group, "who": who, "ms": median(ms)} for who, ms in turns.items()]

    def _entry(
        self, driver: Driver, folder: Path, row: dict[str, Any], results: list[dict[str, Any]]
    ) -> Ours | None:
        try:
            return Ours(driver, folder, row)
        except (DriverError, OSError) as error:
            results.append({"group": row["group"], "who": row["precision"], "failure": str(error)})
            return None

    def _peers(self, results: list[dict[str, Any]]) -> Iterator[tuple[str, Timer]]:
        row = self.rows[0]
        for precision in ("fp32", "fp16") if self.torch and "steps" in row else ():
            try:
                yield f"cuDNN {precision}", peer(self.torch, row, precision)
            except RuntimeError as error:  # what PyTorch raises
                failure = {"who": f"cuDNN {precision}", "failure": str(error)[:200]}
                results.append({"group": self.rows[0]["group"], **failure})


def as_markdown(results: dict[str, Any]) -> str:
    """The results as people read them."""
    about = results["about"]
    lines = [f"# {about['device']} ({about['architecture']}), driver of CUDA {about['cuda']}", ""]
    wrong = [row for row in results["checks"] if not row.get("ok")]
    lines += [f"{len(results['checks'])} answers checked, {len(wrong)} wrong. cuDNN: {about['cudnn']}.", ""]
    lines += [f"* {row['name']}: {row.get('failure', row.get('worst'))}" for row in wrong]
    groups: dict[str, dict[str, str]] = {}
    for row in results["times"]:
        words = f"{row['ms'] * 1e3:.1f}" if "ms" in row else "failed"
        groups.setdefault(row["group"], {})[row["who"]] = words
    who = sorted({name for row in groups.values() for name in row})
    lines += ["", "| microseconds | " + " | ".join(who) + " |", "| --- |" + " ---: |" * len(who)]
    lines += [f"| {g} | " + " | ".join(row.get(w, "") for w in who) + " |" for g, row in groups.items()]
    if results["left_out"]:
        lines += ["", f"Left out, since time was up: {', '.join(results['left_out'])}."]
    return "\n".join(lines) + "\n"


def write(folder: Path, results: dict[str, Any]) -> None:
    """Whole or not at all."""
    for name, text in (("results.json", json.dumps(results, indent=1)), ("results.md", as_markdown(results))):
        draft = folder / f"{name}.draft"
        draft.write_text(text)
        draft.replace(folder / name)


def main(arguments: list[str] | None = None) -> int:
    """Runs what the index lists as long as there is time; exit code 1 where an answer is wrong."""
    parser = argparse.ArgumentParser(description="Check and time artifacts on this machine's GPU.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, help="Folder of the results; default: the same.")
    parser.add_argument("--seconds", type=float, default=480.0)
    parser.add_argument("--no-peers", action="store_true")
    asked = parser.parse_args(arguments)
    out = asked.out or asked.folder
    deadline = time.monotonic() + asked.seconds
    index = json.loads((asked.folder / "index.json").read_text())
    torch = None if asked.no_peers else _torch()
    try:
        driver = Driver()
    except OSError:
        print("no driver for NVIDIA's GPUs here (libcuda.so.1): take the archive to where there is one")
        return 2
    about = driver.about() | {
        "cudnn": str(torch.backends.cudnn.version()) if torch else "missing (no PyTorch with a GPU)"
    }
    results: dict[str, Any] = {"about": about, "checks": [], "times": [], "left_out": []}
    write(out, results)
    for case in index["checks"]:
        _one(results, "checks", case["name"], deadline, lambda c=case: [check(asked.folder, c)])
        write(out, results)
    for name in dict.fromkeys(case["group"] for case in index["times"]):
        rows = [case for case in index["times"] if case["group"] == name]
        contest = Contest(rows, torch)
        _one(results, "times", name, deadline, lambda c=contest: c.run(driver, asked.folder))
        write(out, results)
    driver.close()
    print(as_markdown(results))
    return int(any(not row.get("ok") for row in results["checks"]))


def _one(
    results: dict[str, Any],
    kind: str,
    name: str,
    deadline: float,
    work: Callable[..., list[dict[str, Any]]],
) -> None:
    """Adds what `work` gives, what it failed with, or that there was no time for it."""
    if time.monotonic() > deadline:
        results["left_out"].append(name)
        return
    try:
        results[kind] += work()
    except (DriverError, OSError) as error:
        results[kind].append({"name": name, "group": name, "who": "all", "failure": str(error)})


if __name__ == "__main__":
    raise SystemExit(main())
