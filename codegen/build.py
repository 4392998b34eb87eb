"""Compiling a program's kernels: from the cache where they are known, else on every core at once."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed

from .cache import load_kernel, store_kernel
from .kernel import Kernel
from .program import KernelObject
from .targets import Target

Progress = Callable[[str, int, int], None]  # what is being done, how many are done, of how many

FEW = 3  # kernels that are built faster than a second process starts

_work: Mapping[str, Kernel] = {}  # what forked workers build; kernels hold closures and cannot be pickled


def silent(_what: str, _done: int, _total: int) -> None:
    """Progress that nobody watches."""


def build_kernels(
    kernels: Mapping[str, Kernel], target: Target, progress: Progress = silent
) -> tuple[KernelObject, ...]:
    """The compiled kernels, in order; what was missing is added to the cache."""
    found = {symbol: load_kernel(symbol, target) for symbol in kernels}
    missing = {symbol: kernels[symbol] for symbol, known in found.items() if known is None}
    done = len(kernels) - len(missing)
    progress("kernels", done, len(kernels))
    for built in _build(missing, target):
        store_kernel(built, target)
        found[built.symbol] = built
        done += 1
        progress("kernels", done, len(kernels))
    return tuple(kernel for kernel in found.values() if kernel is not None)


def _build(missing: Mapping[str, Kernel], target: Target) -> Iterator[KernelObject]:
    workers = min(len(missing), len(os.sched_getaffinity(0)))
    if len(missing) <= FEW or workers < 2:
        return (_build_one(kernel, symbol, target) for symbol, kernel in missing.items())
    return _build_in_parallel(missing, target, workers)


def _build_one(kernel: Kernel, symbol: str, target: Target) -> KernelObject:
    from .objects import build_object  # imports TVM and LLVM, which take seconds

    return build_object(kernel, symbol, target)


def _build_in_parallel(missing: Mapping[str, Kernel], target: Target, workers: int) -> Iterator[KernelObject]:
    global _work
    _work = missing
    with ProcessPoolExecutor(workers, multiprocessing.get_context("fork")) as pool:
        futures: list[Future[KernelObject]] = [
            pool.submit(_build_by_name, symbol, target) for symbol in missing
        ]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _build_by_name(symbol: str, target: Target) -> KernelObject:
    return _build_one(_work[symbol], symbol, target)
