"""What machines have in common that run files of another runtime."""

from __future__ import annotations

from dataclasses import dataclass, field

from .machine import Machine


@dataclass(frozen=True)
class Files(Machine):
    """A machine whose runtime has kernels of its own; `runs_on` is for people.

    `then` is the command that makes of a file, `{file}`, what the machine runs; none where it runs the file.
    """

    runs_on: str
    then: str = field(default="", kw_only=True)
