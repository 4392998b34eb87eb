"""Programs that time kernels the way a network runs them.

A network's kernel finds its operands where the one before left them, writes
where some kernel wrote a while ago, and has not seen its weights since the last
image. So all kernels share one arena: right before each, another one writes its
operands, and its result goes behind these. Weights are inputs of the program; whoever runs it decides
how far apart in memory they lie.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from secateur.codegen.backends.registry import kernels_of
from secateur.codegen.build import build_kernels
from secateur.codegen.cache import kernel_symbol
from secateur.codegen.kernel import Kernel
from secateur.codegen.primitives.operator import Array, Constant
from secateur.codegen.program import Call, Port, Program, Ref, Space
from secateur.codegen.targets.target import Target
from secateur.codegen.tir import T, prim_func, splat, store
from secateur.ir.support.progress import Progress, silent
from secateur.ir.types import DType, TensorType

from .candidates import Candidate

ALIGNMENT = 64
FILLED = 4096  # bytes a task of the kernel that fills writes
FILL = "fill"
_KNOWN = 1 << 20  # bytes; larger arrays of whole numbers are weights, and their values steer nothing
_NUMBERS = ("int32", "uint32", "int64", "uint64")


@dataclass(frozen=True)
class FillSpec:
    """Tasks of `bytes` each, filled with float32 ones: no kernel finds subnormal or infinite numbers."""

    bytes: int = FILLED


def fill_kernel(target: Target) -> Kernel:
    """Writes any number of tasks; those of a call are what it is asked for."""
    return Kernel(FILL, FillSpec(), partial(_build, target.lanes), 1)


def _build(lanes: int) -> Any:
    elements = FILLED // 4

    def body(result: Any, _workspace: Any, begin: Any, end: Any) -> None:
        with T.serial(begin * (elements // lanes), end * (elements // lanes)) as i:
            store(result, i * lanes, splat(1.0, lanes), lanes)

    return prim_func([("result", "float32")], body)


Arguments = tuple[TensorType | Constant, ...]


def weight_bytes(arguments: Arguments) -> int:
    """Of a kernel's packed constants."""
    return sum(_up(a.array.nbytes) for a in arguments if isinstance(a, Constant))


def arena_bytes(candidate: Candidate, arguments: Arguments) -> int:
    """Of operands, results and workspace."""
    types = [*(a for a in arguments if isinstance(a, TensorType)), *candidate.results]
    return sum(_up(t.bytes) for t in types) + _up(candidate.kernel.workspace) + FILLED


@dataclass
class TimingProgram:
    """Calls of every candidate in the order added; in a profile the row of candidate i is row `rows[i]`."""

    target: Target
    candidates: list[Candidate] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    weight_bytes: int = 0
    arena_bytes: int = 0
    _calls: list[Call] = field(default_factory=list, repr=False)
    _inputs: list[Port] = field(default_factory=list, repr=False)
    _known: list[Array] = field(default_factory=list, repr=False)
    _offsets: list[int] = field(default_factory=list, repr=False)

    def add(self, candidate: Candidate, arguments: Arguments) -> None:
        """One more kernel; `arguments` are those that the candidate gives."""
        self.weight_bytes += weight_bytes(arguments)
        self.arena_bytes = max(self.arena_bytes, arena_bytes(candidate, arguments))
        places, end = self._places(arguments)
        self._fill_operands(end)
        for result in candidate.results:
            places.append(Ref(Space.ARENA, offset=end))
            end += _up(result.bytes)
        self.candidates.append(candidate)
        self.rows.append(len(self._calls))
        kernel = candidate.kernel
        self._calls.append(Call(candidate.symbol, tuple(places), kernel.tasks, candidate.symbol,
                                candidate.chosen.name, end if kernel.workspace else -1))  # fmt: skip

    def program(self, name: str, progress: Progress = silent) -> Program:
        """The program, its kernels built."""
        fill = fill_kernel(self.target)
        kernels = {kernel_symbol(fill, self.target): fill}
        kernels |= {c.symbol: c.kernel for c in self.candidates}
        compile = kernels_of(self.target).compile
        workspace = max((c.kernel.workspace for c in self.candidates), default=0)
        return Program(
            name, self.target, tuple(self._inputs), (), tuple(self._calls),
            build_kernels(kernels, self.target, compile, progress), tuple(self._known),
            tuple(self._offsets), self.arena_bytes, workspace,
        )  # fmt: skip

    def _places(self, arguments: Arguments) -> tuple[list[Ref], int]:
        """Where the arguments lie, and the end of those in the arena."""
        places, end = [Ref(Space.ARENA)] * len(arguments), 0
        for i in reversed(range(len(arguments))):  # the first operand last: it is what has just been computed
            argument = arguments[i]
            if isinstance(argument, TensorType):
                places[i] = Ref(Space.ARENA, offset=end)
                end += _up(argument.bytes)
            else:
                places[i] = self._constant(argument.array)
        return places, end

    def _fill_operands(self, bytes: int) -> None:
        """A call that writes the arena's first bytes, and up to a task more."""
        if bytes:
            symbol = kernel_symbol(fill_kernel(self.target), self.target)
            self._calls.append(Call(symbol, (Ref(Space.ARENA),), -(-bytes // FILLED), FILL, FILL))

    def _constant(self, array: Array) -> Ref:
        """A constant's place: whole numbers, which may be indices, go along; the rest are inputs."""
        if array.nbytes <= _KNOWN and (array.dtype.kind == "b" or array.dtype in _NUMBERS):
            last = self._offsets[-1] + _up(self._known[-1].nbytes) if self._known else 0
            self._known.append(array)
            self._offsets.append(last)
            return Ref(Space.WEIGHTS, offset=last)
        self._inputs.append(
            Port(f"weights{len(self._inputs)}", DType.of(array.dtype).value, tuple(array.shape))
        )
        return Ref(Space.INPUT, index=len(self._inputs) - 1)


def port_bytes(port: Port) -> int:
    return TensorType(port.shape, DType(port.dtype)).bytes


def _up(bytes: int) -> int:
    return -(-max(bytes, 1) // ALIGNMENT) * ALIGNMENT
