"""Programs that time kernels the way a network runs them.

A network's kernel finds its operands where the one before left them, writes
where some kernel wrote a while ago, and has not seen its weights since the last
image. So all kernels share one arena: right before each, another one writes its
operands, and its result goes behind these. Weights are inputs of the program; whoever runs it decides
how far apart in memory they lie.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from secateur.codegen.backends.registry import kernels_of
from secateur.codegen.build import build_kernels
from secateur.codegen.cache import kernel_symbol
from secateur.codegen.kernel import Kernel
from secateur.codegen.primitives.operator import (
    Argument,
    Array,
    Constant,
    Operand,
    Result,
    Scratch,
    Stage,
)
from secateur.codegen.program import Call, Port, Program, Ref, Space
from secateur.codegen.targets.target import Cuda, Target
from secateur.codegen.tir import T, prim_func, splat, store
from secateur.ir.support.progress import Progress, silent
from secateur.ir.types import DType, TensorType

from .candidates import Candidate, kernels_in

ALIGNMENT = 64
FILLED = 4096  # bytes a task of the kernel that fills writes
FILLED_BY_THREAD = 65536
"""The same on a GPU: long enough for the host to queue what is timed meanwhile, even on a slow one."""
FILL = "fill"
_THREAD_LANES = 4  # floats that a thread of a GPU writes at once
_KNOWN = 1 << 20  # bytes; larger arrays of whole numbers are weights, and their values steer nothing
_NUMBERS = ("int32", "uint32", "int64", "uint64")


@dataclass(frozen=True)
class FillSpec:
    """Tasks of `bytes` each, filled with float32 ones: no kernel finds subnormal or infinite numbers."""

    bytes: int = FILLED


def is_gpu(target: Target) -> bool:
    """Whether a task of the kernel that fills is a thread's of a GPU."""
    return isinstance(target.machine, Cuda)


def filled_by(target: Target) -> int:
    """Bytes of a task."""
    return FILLED_BY_THREAD if is_gpu(target) else FILLED


def fill_kernel(target: Target) -> Kernel:
    """Writes any number of tasks; those of a call are what it is asked for."""
    bytes, lanes = filled_by(target), _THREAD_LANES if is_gpu(target) else target.lanes
    return Kernel(FILL, FillSpec(bytes), partial(_build, bytes, lanes), 1)


def _build(bytes: int, lanes: int) -> Any:
    elements = bytes // 4

    def body(result: Any, _workspace: Any, begin: Any, end: Any) -> None:
        with T.serial(begin * (elements // lanes), end * (elements // lanes)) as i:
            store(result, i * lanes, splat(1.0, lanes), lanes)

    return prim_func([("result", "float32")], body)


Stages = Sequence[Stage]


def weight_bytes(stages: Stages) -> int:
    """Of packed constants."""
    return sum(_up(a.array.nbytes) for stage in stages for a in stage.arguments if isinstance(a, Constant))


def arena_bytes(candidate: Candidate, stages: Stages) -> int:
    """Of operands, results and workspace."""
    operands = (candidate.chosen.operands[i].type for i in operands_of(stages))
    bytes = sum(_up(t.bytes) for t in (*operands, *candidate.results))
    return bytes + _up(candidate.workspace) + filled_by(candidate.target)


def operands_of(stages: Stages) -> tuple[int, ...]:
    """Those computed at run time, each once, in the order in which kernels take them."""
    taken = (a.index for stage in stages for a in stage.arguments if isinstance(a, Operand))
    return tuple(dict.fromkeys(taken))


@dataclass
class TimingProgram:
    """Calls of every candidate in the order added; in a profile the rows of candidate i are `rows[i]`."""

    target: Target
    candidates: list[Candidate] = field(default_factory=list)
    rows: list[range] = field(default_factory=list)
    weight_bytes: int = 0
    arena_bytes: int = 0
    _calls: list[Call] = field(default_factory=list, repr=False)
    _inputs: list[Port] = field(default_factory=list, repr=False)
    _known: list[Array] = field(default_factory=list, repr=False)
    _offsets: list[int] = field(default_factory=list, repr=False)

    def add(self, candidate: Candidate, stages: Stages) -> None:
        """One more; `stages` are those that the candidate gives."""
        self.weight_bytes += weight_bytes(stages)
        self.arena_bytes = max(self.arena_bytes, arena_bytes(candidate, stages))
        operands, end = self._operands(candidate, stages)
        self._fill_operands(end)
        results = []
        for result in candidate.results:
            results.append(Ref(Space.ARENA, offset=end))
            end += _up(result.bytes)
        place = _Places(operands, tuple(results), end, self._constant)
        self.candidates.append(candidate)
        self.rows.append(range(len(self._calls), len(self._calls) + len(stages)))
        for stage in stages:
            kernel, workspace = stage.kernel, end if candidate.workspace else -1
            self._calls.append(Call(kernel_symbol(kernel, self.target), tuple(map(place, stage.arguments)),
                                    kernel.tasks, candidate.symbol, candidate.chosen.name, workspace,
                                    threads=kernel.threads))  # fmt: skip

    def program(self, name: str, progress: Progress = silent) -> Program:
        """The program, its kernels built."""
        fill = fill_kernel(self.target)
        kernels = {kernel_symbol(fill, self.target): fill}
        kernels |= kernels_in(self.candidates)
        compile = kernels_of(self.target).compile
        workspace = max((k.workspace for k in kernels.values()), default=0)
        return Program(
            name, self.target, tuple(self._inputs), (), tuple(self._calls),
            build_kernels(kernels, self.target, compile, progress), tuple(self._known),
            tuple(self._offsets), self.arena_bytes, workspace,
        )  # fmt: skip

    def _operands(self, candidate: Candidate, stages: Stages) -> tuple[dict[int, Ref], int]:
        """Where operands lie, by index, and their end; the first one last: it has just been computed."""
        places, end = dict[int, Ref](), 0
        for i in reversed(operands_of(stages)):
            places[i] = Ref(Space.ARENA, offset=end)
            end += _up(candidate.chosen.operands[i].type.bytes)
        return places, end

    def _fill_operands(self, bytes: int) -> None:
        """A call that writes the arena's first bytes, and up to a task more."""
        if bytes:
            symbol = kernel_symbol(fill_kernel(self.target), self.target)
            tasks = -(-bytes // filled_by(self.target))
            self._calls.append(Call(symbol, (Ref(Space.ARENA),), tasks, FILL, FILL))

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


@dataclass(frozen=True)
class _Places:
    """Where a candidate's pointers point; `known` places a constant."""

    operands: Mapping[int, Ref]
    results: tuple[Ref, ...]
    workspace: int
    known: Callable[[Array], Ref]

    def __call__(self, argument: Argument | Result | Scratch) -> Ref:
        if isinstance(argument, Operand):
            return self.operands[argument.index]
        if isinstance(argument, Result):
            return self.results[argument.index]
        if isinstance(argument, Scratch):
            return Ref(Space.ARENA, offset=self.workspace + argument.offset)
        return self.known(argument.array)


def port_bytes(port: Port) -> int:
    return TensorType(port.shape, DType(port.dtype)).bytes


def _up(bytes: int) -> int:
    return -(-max(bytes, 1) // ALIGNMENT) * ALIGNMENT
