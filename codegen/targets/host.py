"""What this machine is, and which rows it runs.

`host` is the best row that this machine can run. The environment's
`SECATEUR_HOST` names another that it can run too: then that is the host, and
whatever asks what this machine can do sees no more than that row has.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from secateur.ir.errors import SecateurError

from . import processor
from .rows import BOARDS, GENERIC, TARGETS, named
from .target import Cpu, Target

HOST = "SECATEUR_HOST"
"""The variable of the environment that names the host's row."""


def host() -> Target:
    """The best row that this machine can run, or the one that SECATEUR_HOST names, with the name `host`.

    A board whose core this machine has goes before a row for any core. SecateurError where no row fits, or
    the one that is named is not known or cannot run here.
    """
    return replace(_masked() or _best(runnable()), name="host")


def runnable() -> list[Target]:
    """The rows whose code this machine runs, boards last."""
    return [row for row in TARGETS.values() if runs_here(row)]


def runs_here(target: Target) -> bool:
    """Whether this machine runs code for `target`: its architecture, and every feature that the row names."""
    machine = target.machine
    return isinstance(machine, Cpu) and _here(machine) and set(machine.features) <= cpu_flags()


def _here(cpu: Cpu) -> bool:
    return cpu.architecture == processor.architecture()


def is_here(target: Target) -> bool:
    """Whether `target` is what this machine is compiled for."""
    return runs_here(target) and target == replace(host(), name=target.name)


def check_here(target: Target) -> None:
    """SecateurError where code for `target` cannot be timed on this machine."""
    if not is_here(target):
        raise SecateurError(f"times can be measured on this machine only, target {target.name} is another")


def cpu_flags() -> frozenset[str]:
    """LLVM's feature names of this machine; where SECATEUR_HOST names its row, those of the row alone."""
    masked = _masked()
    return processor.features() if masked is None else frozenset(masked.features)


def _best(fitting: Sequence[Target]) -> Target:
    if not fitting:
        raise SecateurError(
            f"no target fits this machine: {_misfit()}; name one to compile for with --target"
        )
    most = max(len(t.features) for t in fitting)
    ours = [t for t in fitting if t in BOARDS and t.cpu.core == processor.core()]
    generic = [t for t in fitting if t in GENERIC]
    # Of rows with as many features the later one is the faster.
    return next((t for t in ours if len(t.features) == most), None) or max(
        reversed(generic), key=lambda t: len(t.features)
    )


def _misfit() -> str:
    """Why no row fits."""
    least = next((t for t in GENERIC if _here(t.cpu)), None)
    machine = processor.architecture()
    if least is None:
        known = dict.fromkeys(t.cpu.architecture for t in GENERIC)
        return f"it is {machine}, known are {', '.join(known)}"
    return f"this {machine} processor has no {', '.join(sorted(set(least.features) - processor.features()))}"


def _masked() -> Target | None:
    """The row that SECATEUR_HOST names; SecateurError where this machine cannot run it, or there is none."""
    name = os.environ.get(HOST)
    if not name:
        return None
    try:
        row = named(name)
    except SecateurError as error:
        raise SecateurError(f"{HOST}: {error}") from None
    if reason := _refusal(row):
        raise SecateurError(f"{HOST}={name}: {reason}")
    return row


def _refusal(row: Target) -> str | None:
    """Why this machine cannot be `row`, or None."""
    if not isinstance(row.machine, Cpu):
        return "it is no processor"
    if not _here(row.machine):
        return f"code for {row.machine.architecture} does not run on this {processor.architecture()}"
    missing = sorted(set(row.machine.features) - processor.features())
    return f"this processor has no {', '.join(missing)}" if missing else None
