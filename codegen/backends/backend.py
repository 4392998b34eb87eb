"""The contract of a backend: what a class of machines needs, and nothing else knows the class.

A `Backend` makes a file of a graph. One that compiles kernels is a `KernelBackend`: selection chooses among
its primitives, and what it emits is a `Program`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

from secateur.ir.choice import CostTable, Storage
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph
from secateur.ir.stages import PLACED, Stage
from secateur.ir.support.progress import Progress, silent

from ..destination import KINDS, check_destination
from ..folder import cache_folder
from ..kernel import Kernel
from ..primitives.registry import Primitives
from ..program import Module, Program
from ..targets.target import Target

if TYPE_CHECKING:
    from ..link import Parts

Dumps = Mapping[str, str | bytes]  # content by relative name


class Emitted(Protocol):
    """What a backend makes of a graph, still in memory."""

    @property
    def manifest(self) -> Mapping[str, Any]:
        """What it says of itself."""


Emission = TypeVar("Emission", bound=Emitted)


class Backend(ABC, Generic[Emission]):
    """Stateless; one object each, in the table of `backends/registry.py`.

    To ask for its attributes is quick: its methods import what is heavy.
    """

    name: str
    kinds: tuple[str, ...]
    """The kinds of artifacts that it writes, the usual one first."""
    pipeline: str
    """The passes, as text, from a graph as read to one that it emits."""
    takes: Stage = PLACED
    """The stage of graphs that it emits."""
    rounding: Literal["float32", "tflite"] = "float32"
    """Which of the two exact definitions of operators on bytes its machines compute."""
    quantizes: bool = True
    """Whether it compiles networks that compute in 8 bits."""

    def pairs(self, _target: Target) -> bool:
        """Whether its kernels gain by weights that leave room for pairs of blocks (`ir/support/room.py`)."""
        return False

    def has_words(self, _target: Target) -> bool:
        """Whether its kernels compute Winograd's results in words (`ir/reference/words.py`)."""
        return False

    @abstractmethod
    def costs(self, target: Target) -> CostTable:
        """The estimates of a target's cost model, for the passes that weigh time."""

    streams: bool = False
    """Whether its runtime can decode constants right before the call that reads them."""

    def storage(self, _target: Target) -> Storage | None:
        """What it takes to hold constants coded; None where its files hold them as they are."""
        return None

    def check_graph(self, graph: Graph, target: Target) -> None:
        """ModelError for a network as read that `emit` will not take; asked before any work."""

    @abstractmethod
    def emit(
        self,
        graph: Graph,
        target: Target,
        manifest: Mapping[str, Any] | None = None,
        progress: Progress = silent,
    ) -> Emission:
        """What stands for a graph of the stage that it takes.

        SecateurError where a decision that the graph carries is impossible (it may have been edited by hand).
        """

    @abstractmethod
    def write(
        self,
        emitted: Emission,
        path: Path,
        kind: str = "",
        dumps: Dumps | None = None,
        check: Callable[[Path], None] | None = None,
    ) -> Path:
        """Writes an artifact of `kind`, else of the usual one, to `path`, with `dumps` where it is a folder.

        `check` gets it before it takes its place; where it raises, nothing is written.
        """

    @abstractmethod
    def texts(self, emitted: Emission) -> Iterator[tuple[str, str]]:
        """File names and texts that show people what was emitted, for `--dump-ir`."""

    def check_finishing(self) -> None:
        """SecateurError where there is no assembler of the machine's maker, or none for such machines."""
        raise SecateurError(f"cubins are for NVIDIA's GPUs; the backend '{self.name}' makes none")

    def finished(self, emitted: Emission) -> Emission:
        """With code beside it that no driver has to compile; SecateurError as `check_finishing`."""
        self.check_finishing()
        return emitted

    @abstractmethod
    def check_destination(self, path: Path, kind: str, dumps: Collection[str] = ()) -> None:
        """An artifact of `kind`, with the files `dumps`, may be written to `path`; asked before any work.

        SecateurError for another kind than `kinds`, or where something else is there; OSError where nothing
        can be written there.
        """


class KernelBackend(Backend[Program]):
    """A backend whose programs call kernels: one of its primitives computes each operator."""

    kinds = KINDS
    pipeline = "canonicalize,fuse,select,layout,memory"

    def storage(self, _target: Target) -> Storage:
        from ..storage import CodedConstants

        return CodedConstants(_target, self.primitives)

    @property
    @abstractmethod
    def primitives(self) -> Primitives:
        """The candidates of every operator."""

    @abstractmethod
    def compile(self, kernel: Kernel, symbol: str, target: Target) -> Module:
        """The kernel as a module that defines `symbol`; called in other processes too."""

    @abstractmethod
    def linked(self, program: Program) -> tuple[Program, Parts]:
        """What a program is linked of: itself as its host's tables tell it, and its code.

        ProgramError where the program is unsound.
        """

    def write(
        self,
        emitted: Program,
        path: Path,
        kind: str = "",
        dumps: Dumps | None = None,
        check: Callable[[Path], None] | None = None,
    ) -> Path:
        from ..artifact import write_artifact

        program, parts = self.linked(emitted)
        return write_artifact(program, path, kind or self.kinds[0], dumps, cache_folder(), check, parts)

    def emit(
        self,
        graph: Graph,
        target: Target,
        manifest: Mapping[str, Any] | None = None,
        progress: Progress = silent,
    ) -> Program:
        from ..lower import lower

        if not self.streams and any("streamed" in op.attributes for op in graph.operators):
            raise SecateurError(f"{target.name}: constants cannot be decoded in each run; remove 'streamed'")
        return lower(graph, target, self.primitives, self.compile, manifest, progress)

    def check_destination(self, path: Path, kind: str, dumps: Collection[str] = ()) -> None:
        check_destination(path, kind, dumps)
