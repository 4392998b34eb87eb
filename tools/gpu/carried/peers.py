"""The same networks in PyTorch, with cuDNN's best algorithms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .artifact import REPEATS

Step = dict[str, Any]
Timer = Callable[[], float]


def torch_here() -> Any:
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
    return graphed(torch, lambda: network(x))


def graphed(torch: Any, work: Callable[[], Any]) -> Timer:
    """Milliseconds of the work, `REPEATS` times in a CUDA graph."""
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
