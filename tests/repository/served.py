"""Commands and programs in processes forked from one that has imported the compiler.

Importing it takes longer than most of what a page's blocks do. `secateur`, found first on the PATH, hands
its words, folder, environment and streams to a server, which forks: all else is as in a process of its
own. `test_packaging` and the tests of the command line start the installed command itself.
"""

from __future__ import annotations

import gc
import os
import pickle
import select
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from types import ModuleType

_CLIENT = """#!{python} -IS
import os, pickle, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [b"{kind}"], [0, 1, 2])
    server.sendall(pickle.dumps((sys.argv[1:], os.getcwd(), dict(os.environ))))
    server.shutdown(socket.SHUT_WR)
    sys.exit((server.recv(1) or b"\\xff")[0])
"""
_FOLDERS = ("ir", "passes", "codegen", "costs", "runtime")
_COMMAND, _PROGRAM = b"c", b"p"


@dataclass(frozen=True)
class Served:
    """`folder` is for the PATH and has `secateur`; `python` takes the text of a program."""

    folder: Path
    python: Path


@contextmanager
def served(place: Path) -> Iterator[Served]:
    """Clients in an empty folder, with the server behind them until the end."""
    found = Served(place / "bin", place / "python")
    found.folder.mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(place / "s"))
        listening.listen()
        for client, kind in ((found.folder / "secateur", _COMMAND), (found.python, _PROGRAM)):
            client.write_text(
                _CLIENT.format(python=sys.executable, address=str(place / "s"), kind=kind.decode())
            )
            client.chmod(0o700)
        number = listening.fileno()
        words = [sys.executable, "-P", __file__, str(number)]
        server = subprocess.Popen(words, stdin=subprocess.PIPE, pass_fds=[number])
    with server:  # which ends where its input does
        yield found


def _serve(listening: socket.socket) -> None:
    """Forks for every connection, until standard input ends."""
    while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
        connection, _ = listening.accept()
        with connection:
            if os.fork() == 0:
                listening.close()
                _answer(connection)
        _reap()
    _reap()


def _reap() -> None:
    """Takes the processes that have ended, so that their time is counted among this one's children."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _answer(connection: socket.socket) -> None:
    """Does what is asked as a process of its own would, tells the exit code, and ends."""
    kind, streams, *_ = socket.recv_fds(connection, 1, 3)
    with connection.makefile("rb") as told:
        words, folder, environment = pickle.load(told)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    code = _code(_command if kind == _COMMAND else _program, words)
    connection.send(bytes([code]))
    os._exit(code)


def _code(what: Callable[[list[str]], None], words: list[str]) -> int:
    """As Python's own."""
    try:
        what(words)
        sys.stdout.flush()
    except SystemExit as left:
        sys.stdout.flush()
        if isinstance(left.code, str):
            print(left.code, file=sys.stderr)
        return left.code if isinstance(left.code, int) else int(left.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _command(words: list[str]) -> None:
    from secateur.tools.cli.main import main

    sys.argv = ["secateur", *words]
    main()


def _program(words: list[str]) -> None:
    module = ModuleType("__main__")
    sys.modules["__main__"], sys.argv = module, ["-c"]
    sys.path.insert(0, "")
    exec(compile(words[0], "<block>", "exec"), module.__dict__)


def _imported() -> None:
    """What commands would import: hundreds of modules, in most of the time that a small network takes."""
    from secateur.ir.support.unasked import do_without
    from secateur.tools.cli.main import ROWS

    do_without("torch")
    for row in ROWS:
        import_module(f"secateur.tools.cli.commands.{row.name}")
    for package in ("secateur", *(f"secateur.{folder}" for folder in _FOLDERS)):
        for found in walk_packages(import_module(package).__path__, f"{package}."):
            import_module(found.name)
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    _imported()
    _serve(socket.socket(fileno=int(sys.argv[1])))
