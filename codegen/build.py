"""Compiling a program's kernels: from the cache where they are known, else here or on every core at once.

Another process must load the compiler first, which takes as long as dozens of kernels. So other
processes are started where that pays: the pace of the first kernels tells.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from secateur.ir.errors import SecateurError
from secateur.ir.support.progress import Progress, silent
from secateur.ir.support.unfinished import child, end

from .cache import load_kernel, store_kernel
from .kernel import Kernel
from .program import Module
from .targets.target import Target
from .worker import Compile, Task, receive, send

JOBS = "SECATEUR_JOBS"
FEW = 8  # kernels for which a process that has not loaded the compiler yet starts no others
_START_SECONDS = 1.0  # from the start of a process until it compiles
_LOADED: set[Compile] = set()  # what has compiled in this process, and so starts at once

# A worker finds our modules where we found them, whatever the folder and however the program was started.
_START = "import sys; sys.path[:] = {path!r}; from secateur.codegen.worker import main; main()"


def build_kernels(
    kernels: Mapping[str, Kernel], target: Target, compile: Compile, progress: Progress = silent
) -> tuple[Module, ...]:
    """The kernels compiled by `compile`, in order; what was missing is added to the cache.

    SecateurError where memory does not suffice for a compiling process, RuntimeError where one dies
    otherwise. Threads may call this side by side.
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
    tasks = deque((compile, kernel, symbol, target) for symbol, kernel in missing.items())
    workers, kept = _workers() if _interpreter() else 1, _KEPT.get()
    ready = kept is not None and bool(kept.idle)
    if workers < 2 or (not ready and (len(tasks) <= FEW or compile in _LOADED)):
        yield from _build_here(tasks, workers)
    if tasks:
        yield from _build_in_parallel(tasks, min(len(tasks), workers))


def _workers() -> int:
    """How many processes may compile: `$SECATEUR_JOBS`, else one for each core that is ours to use."""
    chosen = os.environ.get(JOBS)
    if not chosen:
        return len(os.sched_getaffinity(0))
    if not chosen.isdecimal() or not int(chosen):
        raise SecateurError(f"{JOBS}={chosen} is no number of processes, from 1 on")
    return int(chosen)


def _build_here(tasks: deque[Task], workers: int) -> Generator[Module, None, None]:
    """Builds in this process, for as long as others would not be done with the rest sooner.

    The pace is counted in this thread's time on a core: where the cores are busy, others wait as well.
    """
    built, seconds = 0, 0.0
    while tasks and not (built and _others_gain(seconds / built, len(tasks), workers)):
        compile, kernel, symbol, target = tasks.popleft()
        begin, loaded = time.thread_time(), compile in _LOADED
        yield compile(kernel, symbol, target)
        _LOADED.add(compile)
        if loaded:  # otherwise it loaded the compiler, which tells nothing of the next
            built, seconds = built + 1, seconds + time.thread_time() - begin


def _others_gain(pace: float, kernels: int, workers: int) -> bool:
    """Whether kernels that take so many seconds each are built sooner by so many other processes."""
    return pace * kernels > _START_SECONDS + pace * kernels / min(kernels, workers)


def _interpreter() -> str | None:
    """Python, unless we run inside a program that is none."""
    return sys.executable if Path(sys.executable or "").name.startswith("python") else None


def _build_in_parallel(tasks: deque[Task], workers: int) -> Generator[Module, None, None]:
    with _processes(workers) as processes, selectors.DefaultSelector() as waiting:
        for process in processes:
            _give(process, tasks, waiting)
        while waiting.get_map():
            for key, _ in waiting.select():
                process, task = key.data
                waiting.unregister(key.fileobj)
                yield _answer(process, task)
                _give(process, tasks, waiting)


@dataclass
class _Kept:
    """Processes that outlive a build: all of them, and those that have no task."""

    all: ExitStack
    idle: list[subprocess.Popen[bytes]] = field(default_factory=list)


_KEPT: ContextVar[_Kept | None] = ContextVar("kept", default=None)


@contextmanager
def workers_kept() -> Iterator[None]:
    """Builds inside, of many networks, share the processes that the first ones start; they end with it."""
    with ExitStack() as stack:
        before = _KEPT.set(_Kept(stack))
        try:
            yield
        finally:
            _KEPT.reset(before)


@contextmanager
def _processes(count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """That compile for one build, and end with it unless they are kept and have nothing left to do."""
    kept = _KEPT.get()
    if kept is None:
        with ExitStack() as stack:
            yield [stack.enter_context(_worker()) for _ in range(count)]
        return
    found = [kept.idle.pop() if kept.idle else kept.all.enter_context(_worker()) for _ in range(count)]
    try:
        yield found
    except BaseException:
        for process in found:
            end(process)
        raise
    kept.idle += found


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
    if isinstance(found, MemoryError):
        raise _starved(task)
    if isinstance(found, Exception):
        raise found
    return found


def _died(process: subprocess.Popen[bytes], task: Task) -> Exception:
    """Linux kills a process where memory runs out; any other death is a defect."""
    code = process.wait()
    if code == -signal.SIGKILL:
        return _starved(task)
    return RuntimeError(f"the process that compiled kernel {task[2]} died (exit code {code})")


def _starved(task: Task) -> SecateurError:
    return SecateurError(
        f"memory ran out, most likely: the process that compiled kernel {task[2]} was ended; as many compile "
        "at once as there are cores, each with a few hundred MiB: free some memory, or let fewer do so "
        f"({JOBS}=1 secateur ...); what is compiled already is kept"
    )
