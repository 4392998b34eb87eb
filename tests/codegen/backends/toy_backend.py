"""A backend for machines that exist in tests alone: it writes the names of operators to a text file.

What is here is all that a backend needs; no file of another backend knows of it.
"""

# ruff: noqa: ARG002 - the contract's arguments, most of which a toy has no use for

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secateur.codegen.backends.backend import Backend, Dumps
from secateur.codegen.targets.target import Machine, Rates, Target
from secateur.ir.choice import Choice
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Operator
from secateur.ir.stages import READ
from secateur.ir.support.atomic import write_whole
from secateur.ir.support.progress import Progress, silent
from secateur.ir.types import Layout, TensorType


@dataclass(frozen=True)
class Toy(Machine):
    """A machine that runs at most `most` operators."""

    most: int


@dataclass(frozen=True)
class Listing:
    """What the backend emits."""

    operators: tuple[str, ...]
    manifest: Mapping[str, Any]


@dataclass(frozen=True)
class ToyCosts:
    """A second for each operator."""

    target: Target

    def choices(self, op: Operator) -> tuple[Choice, ...]:
        layouts = tuple(v.type.layout for v in op.operands)
        return (Choice("toy", layouts, op.result.type.layout, 0, 1.0),)

    def conversion(self, type: TensorType, source: Layout, destination: Layout) -> float:
        return 0.0

    def weight_bytes(self, op: Operator, choice: Choice) -> int:
        return 0


class ToyBackend(Backend[Listing]):
    name = "toy"
    kinds = ("txt",)
    pipeline = "canonicalize,fuse"
    takes = READ

    def costs(self, target: Target) -> ToyCosts:
        return ToyCosts(target)

    def emit(
        self,
        graph: Graph,
        target: Target,
        manifest: Mapping[str, Any] | None = None,
        progress: Progress = silent,
    ) -> Listing:
        assert isinstance(target.machine, Toy)
        names = tuple(op.name for op in graph.operators if op.name != "nn.constant")
        if len(names) > target.machine.most:
            raise SecateurError(f"{len(names)} operators, {target.name} runs {target.machine.most}")
        return Listing(names, manifest or {})

    def check_destination(self, path: Path, kind: str, dumps: Collection[str] = ()) -> None:
        if kind not in self.kinds:
            raise SecateurError(f"unknown kind of artifact '{kind}'; known: txt")

    def write(
        self,
        emitted: Listing,
        path: Path,
        kind: str = "",
        dumps: Dumps | None = None,
        check: Callable[[Path], None] | None = None,
    ) -> Path:
        write_whole(path, "\n".join(emitted.operators).encode())
        return path

    def texts(self, emitted: Listing) -> Iterator[tuple[str, str]]:
        yield "operators.txt", "\n".join(emitted.operators)


BACKEND = ToyBackend()
ROOMY = Target("toy", Toy(100), Rates())
NARROW = Target("toy-narrow", Toy(1), Rates())
