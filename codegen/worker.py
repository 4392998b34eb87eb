"""A process that compiles kernels: tasks come in by standard input, objects go out by standard output.

Each message is a pickle behind its length. A task is (compile, kernel, symbol, target), a
backend's function and its arguments; the answer is a `Module` or the exception. The process
ends with its input, and dies with the process that started it. Nothing of the user's program
is imported here: kernels are data, whose builders are functions of `secateur.codegen`.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import struct
import sys
from collections.abc import Callable
from typing import IO, Any

from secateur.ir.support.unasked import do_without

from .kernel import Kernel
from .program import Module
from .targets.target import Target

Compile = Callable[[Kernel, str, Target], Module]
Task = tuple[Compile, Kernel, str, Target]
Answer = Module | Exception

_LENGTH = struct.Struct("<Q")
_PR_SET_PDEATHSIG = 1


def send(stream: IO[bytes], message: Any) -> None:
    """Writes a message at once; OSError where nobody reads."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """The next message; EOFError where there is none, or half of one."""
    head = stream.read(_LENGTH.size)
    data = stream.read(_LENGTH.unpack(head)[0]) if len(head) == _LENGTH.size else b""
    if not data:
        raise EOFError
    return pickle.loads(data)


def answer(task: Task) -> Answer:
    """The compiled kernel, or what went wrong."""
    compile, kernel, symbol, target = task
    try:
        return compile(kernel, symbol, target)
    except Exception as error:
        return _portable(error)


def _portable(error: Exception) -> Exception:
    """The exception, or one of its words where it does not bear the journey."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _follow(parent: int) -> None:
    """Ends with the parent, and leaves interrupts, which reach the whole group, to it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit(1)


def main() -> None:
    """Serves until the input ends; the parent's number is the argument."""
    _follow(int(sys.argv[1]))
    do_without("torch")
    tasks, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    while True:
        try:
            task = receive(tasks)
        except EOFError:
            return
        send(answers, answer(task))


if __name__ == "__main__":
    main()
