"""The backend of a target: which one compiles for which class of machines."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from secateur.ir.errors import SecateurError

from ..targets.myriad import Myriad
from ..targets.target import Cpu, Cuda, Machine, Target
from ..targets.tflite import Tflite
from .backend import Backend, KernelBackend

BACKENDS: dict[type[Machine], str] = {
    Cpu: "secateur.codegen.backends.cpu.backend",
    Tflite: "secateur.codegen.backends.tflite.backend",
    Myriad: "secateur.codegen.backends.myriad.backend",
    Cuda: "secateur.codegen.backends.cuda.backend",
}
"""The module that has the backend as `BACKEND`, imported when a target needs it."""


def backend_for(machine: type[Machine]) -> Backend[Any]:
    """The backend of a class of machines; SecateurError where there is none."""
    if machine not in BACKENDS:
        raise SecateurError(f"no backend compiles for machines of the class {machine.__name__}")
    found: Backend[Any] = import_module(BACKENDS[machine]).BACKEND
    return found


def backend_of(target: Target) -> Backend[Any]:
    """The backend of the target's machine; SecateurError where there is none."""
    return backend_for(type(target.machine))


def kernels_of(target: Target) -> KernelBackend:
    """The target's backend, for those who time or show its kernels; SecateurError where it compiles none."""
    found = backend_of(target)
    if not isinstance(found, KernelBackend):
        raise SecateurError(f"target {target.name} has no kernels: the backend '{found.name}' compiles none")
    return found
