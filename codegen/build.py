"""Compiling a program's kernels: from the cache where they are known, else on every core at once."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
from collections import deque
from collections.abc import Generator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from secateur.ir.support.progress import Progress, silent
from secateur.ir.support.unfinished import child

from .cache import load_kernel, store_kernel
from .kernel import Kernel
from .program import Module
from .targets.target import Target
from .worker import Compile, Task, receive, send

FEW = 3  # kernels that are built faster than a second process starts

# A worker finds our modules where we found them, whatever the folder and however the program was started.
_START = "import sys; sys.path[:] = {path!r}; from secateur.codegen.worker import main; main()"


def build_kernels(
    kernels: Mapping[str, Kernel], target: Target, compile: Compile, progress: Progress = silent
) -> tuple[Module, ...]:
    """The kernels compiled by `compile`, in order; what was missing is added to the cache.

    RuntimeError where a compiling process dies. Threads may call this side by side.
    """
    found = {symbol: load_kernel(symbol) for symbol in kernels}
    missing = {symbol: kernels[symbol] for symbol, known in found.items() if known is None}
    done = len(kernels) - len(missing)
    progress("kernels", done, len(kernels))
    with closing(_build(missing, target, compile)) as building:  # whatever ends the loop ends the workers
        for built in building:
            store_kernel(built)
            found[built.symbol] = built
            done += 1
            progress("kernels", done, len(kernels))
    return tuple(kernel for kernel in found.values() if kernel is not None)


def _build(missing: Mapping[str, Kernel], target: Target, compile: Compile) -> Generator[Module, None, None]:
    workers = min(len(missing), len(os.sched_getaffinity(0)))
    if len(missing) <= FEW or workers < 2 or not _interpreter():
        return (compile(kernel, symbol, target) for symbol, kernel in missing.items())
    tasks = deque((compile, kernel, symbol, target) for symbol, kernel in missing.items())
    return _build_in_parallel(tasks, workers)


def _interpreter() -> str | None:
    """Python, unless we run inside a program that is none."""
    return sys.executable if Path(sys.executable or "").name.startswith("python") else None


def _build_in_parallel(tasks: deque[Task], workers: int) -> Generator[Module, None, None]:
    with ExitStack() as stack, selectors.DefaultSelector() as waiting:
        for _ in range(workers):
            _give(stack.enter_context(_worker()), tasks, waiting)
        while waiting.get_map():
            for key, _ in waiting.select():
                process, task = key.data
                waiting.unregister(key.fileobj)
                yield _answer(process, task)
                _give(process, tasks, waiting)


def _worker() -> Any:
    start = _START.format(path=sys.path)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return child([sys.executable, "-c", start, str(os.getpid())], **pipes)


def _give(process: subprocess.Popen[bytes], tasks: deque[Task], waiting: selectors.BaseSelector) -> None:
    """The next task, if there is one, to a worker that has none."""
    if not tasks:
        return
    task = tasks.popleft()
    assert process.stdin is not None, "a worker has pipes"
    assert process.stdout is not None, "a worker has pipes"
    try:
        send(process.stdin, task)
    except OSError as error:
        raise _died(process, task) from error
    waiting.register(process.stdout, selectors.EVENT_READ, (process, task))


def _answer(process: subprocess.Popen[bytes], task: Task) -> Module:
    assert process.stdout is not None, "a worker has pipes"
    try:
        found: Module | Exception = receive(process.stdout)
    except EOFError as error:
        raise _died(process, task) from error
    if isinstance(found, Exception):
        raise found
    return found


def _died(process: subprocess.Popen[bytes], task: Task) -> RuntimeError:
    return RuntimeError(f"the process that compiled kernel {task[2]} died (exit code {process.wait()})")
