"""The backend of a target: which one compiles for which class of machines."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from secateur.ir.errors import SecateurError

from ..targets.target import Cpu, Machine, Target
from .backend import Backend, KernelBackend

BACKENDS: dict[type[Machine], str] = {Cpu: "secateur.codegen.backends.cpu.backend"}
"""The module that has the backend as `BACKEND`, imported when a target needs it."""


def backend_of(target: Target) -> Backend[Any]:
    """The backend of the target's class of machines; SecateurError where there is none."""
    module = BACKENDS.get(type(target.machine))
    if module is None:
        raise SecateurError(f"no backend compiles for target {target.name}")
    found: Backend[Any] = import_module(module).BACKEND
    return found


def kernels_of(target: Target) -> KernelBackend:
    """The target's backend, for those who time or show its kernels; SecateurError where it compiles none."""
    found = backend_of(target)
    if not isinstance(found, KernelBackend):
        raise SecateurError(f"target {target.name} has no kernels: the backend '{found.name}' compiles none")
    return found
