"""The contract of a primitive towards the rest of the compiler: everything is asked of it with an operator.

The operator is `nn.X` while selection asks for layouts and costs, and `prim.X`
with its layouts in its types when lowering asks for the kernel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.graph import Operator
from secateur.ir.graph import constant_of as constant_of
from secateur.ir.types import Layout

from ..kernel import Kernel
from ..targets.target import Target
from ..weights.origin import Origin

Array = NDArray[Any]
Combination = tuple[tuple[Layout, ...], Layout]  # of the operands, of the result


@dataclass(frozen=True)
class Operand:
    """A kernel argument that is the operator's operand number `index`."""

    index: int


@dataclass(frozen=True, eq=False)
class Constant:
    """A kernel argument that is known now: it goes into the artifact's weights."""

    array: Array


Argument = Operand | Constant


@dataclass(frozen=True)
class Result:
    """A kernel argument that is the operator's result number `index`."""

    index: int = 0


@dataclass(frozen=True)
class Scratch:
    """A kernel argument that lies `offset` bytes into the operator's workspace."""

    offset: int


@dataclass(frozen=True, eq=False)
class Stage:
    """One of the kernels that compute an operator, in order; `macs` tells that it does the multiplying."""

    kernel: Kernel
    arguments: tuple[Argument | Result | Scratch, ...]
    macs: bool = True


def dynamic_operands(op: Operator) -> list[int]:
    """Indices of the operands that are computed at run time."""
    return [i for i, v in enumerate(op.operands) if constant_of(v) is None]


def to_layout(array: Array, layout: Layout) -> Array:
    """A constant of logical shape as it lies in memory under `layout`; padding lanes are zero."""
    if layout.name == "NHWC":
        return np.ascontiguousarray(np.moveaxis(array, 1, -1))
    if not layout.block:
        return np.ascontiguousarray(array)
    n, c, *spatial = array.shape
    blocks = -(-c // layout.block)
    padded = np.zeros((n, blocks * layout.block, *spatial), array.dtype)
    padded[:, :c] = array
    split = padded.reshape(n, blocks, layout.block, *spatial)
    return np.ascontiguousarray(np.moveaxis(split, 2, -1))


@dataclass(frozen=True)
class Cost:
    """Of computing an operator: seconds on one core, bytes of workspace for each thread."""

    seconds: float
    workspace: int


Ways = tuple[tuple[Combination, ...], tuple[Cost, ...]]


def workspace_limit(op: Operator) -> int | None:
    """Bytes of workspace that the operator's kernel may take: what was decided, or None before that."""
    limit: int | None = op.get("workspace", 0 if op.name.startswith("prim.") else None)
    return limit


def blocks_in_words(op: Operator) -> dict[str, str]:
    """Blocks of channels that the first operand and the result have; empty where nothing is blocked."""
    read = {"block of the layout read": op.operands[0].type} if op.operands else {}
    types = {**read, "block of the layout made": op.results[0].type}
    return {
        what: f"{-(-type.shape[1] // type.layout.block)} of {type.layout.block} channels"
        for what, type in types.items()
        if type.layout.block
    }


class Primitive(ABC):
    """One way to compute some operators. Stateless; one object each, listed in `registry.py`."""

    name: str
    operators: tuple[str, ...]  # without stage prefix
    spreads = False  # multiplies by zero what a result does not depend on, so an infinity there spoils it

    @abstractmethod
    def applicable(self, op: Operator, target: Target) -> str | None:
        """Why this primitive refuses the operator, or None."""

    @abstractmethod
    def layouts(self, op: Operator, target: Target) -> tuple[Combination, ...]:
        """The layouts it offers, best first; operands that are constants are asked for row-major."""

    def workspace(self, op: Operator, target: Target) -> int:
        """Bytes of workspace for each thread, whatever the layouts; within `workspace_limit` if it can."""
        return 0

    @abstractmethod
    def estimate(self, op: Operator, target: Target) -> float:
        """Seconds on one core by the analytic model, within `workspace_limit` if it can."""

    def costs(self, op: Operator, target: Target) -> tuple[Cost, ...]:
        """What it may cost, fastest first; those that follow take less workspace."""
        return (Cost(self.estimate(op, target), self.workspace(op, target)),)

    def ways(self, op: Operator, target: Target, read: dict[type, Any]) -> Ways | None:
        """`layouts` and `costs`, which go with each other in any combination; None where not `applicable`.

        `read` has what each kind of primitive read off this operator, for the next ones of the kind.
        """
        if self.applicable(op, target) is not None:
            return None
        return self.layouts(op, target), self.costs(op, target)

    def noise(self, op: Operator, target: Target) -> float:
        """Relative error power (squared error over squared value) beyond direct summation."""
        return 0.0

    def constants(self, op: Operator, target: Target) -> tuple[Array, ...]:
        """Constant operands as the kernel wants them; by default unchanged, in operand order."""
        arrays = (constant_of(v) for v in op.operands)
        return tuple(np.ascontiguousarray(a) for a in arrays if a is not None)

    def arguments(self, op: Operator, target: Target) -> tuple[Argument, ...]:
        """The kernel's pointers before its result: operands computed at run time, then constants."""
        return (*map(Operand, dynamic_operands(op)), *map(Constant, self.constants(op, target)))

    def origin(self, op: Operator, target: Target) -> Origin | None:
        """What an artifact may hold instead of constants among `arguments`; None where it holds these."""
        return None

    def keeps(self, op: Operator, target: Target) -> tuple[int, ...]:
        """Operands that its kernel reads after it has begun to write, of those that the operator lets a
        result overwrite (`OpDef.elementwise_from`): the memory pass lays the result elsewhere."""
        return ()

    def tiling(self, op: Operator, target: Target) -> Mapping[str, str]:
        """Into what the work on an operator is cut, in words, where its types carry the chosen layouts.

        By what does the cutting: the time has a step where one of these changes. Here the blocks of layouts.
        """
        return blocks_in_words(op)

    @abstractmethod
    def kernel(self, op: Operator, target: Target) -> Kernel:
        """The kernel of an operator whose types carry the chosen layouts."""

    def kernels(self, op: Operator, target: Target) -> tuple[Kernel, ...]:
        """Those of `stages`; nothing is packed for them."""
        return (self.kernel(op, target),)

    def stages(self, op: Operator, target: Target) -> tuple[Stage, ...]:
        """The kernels that compute it one after another; by default the only one."""
        results = map(Result, range(len(op.results)))
        return (Stage(self.kernel(op, target), (*self.arguments(op, target), *results)),)


class Adjustable(Primitive):
    """A primitive that can do with less workspace, in more time: it has several costs."""

    @abstractmethod
    def costs(self, op: Operator, target: Target) -> tuple[Cost, ...]: ...

    def workspace(self, op: Operator, target: Target) -> int:
        return self.costs(op, target)[0].workspace

    def estimate(self, op: Operator, target: Target) -> float:
        return self.costs(op, target)[0].seconds
