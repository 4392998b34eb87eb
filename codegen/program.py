"""A lowered model: modules of kernels, the calls to make in order, and where every byte lives.

This is the contract between lowering (IR in, `Program` out) and everything
that writes files. It knows nothing of the IR and nothing of TVM.

The machine-code interface of a processor's module is one C function

    void SYMBOL(void *const *args, void *workspace, int32_t begin, int32_t end);

which computes tasks `begin <= t < end` of `Call.tasks`. Tasks are independent,
so any split over threads gives the same bits. `args` points to one pointer per
buffer, in the order of `Call.args`; `workspace` is private to the thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np

from .kernel import Kernel
from .targets.target import Target
from .weights.fetching import Fetch
from .weights.transforms import Transform


class Space(Enum):
    """The memory an argument points into."""

    INPUT = "input"  # caller's buffer number `index`
    OUTPUT = "output"  # caller's buffer number `index`
    ARENA = "arena"  # `offset` bytes into the state's arena
    WEIGHTS = "weights"  # `offset` bytes into the artifact's weights

    @property
    def is_callers(self) -> bool:
        """Whether it is one of several buffers that the caller hands in, each named by its `index`."""
        return self in (Space.INPUT, Space.OUTPUT)


@dataclass(frozen=True)
class Ref:
    """A pointer argument: caller's buffer `index`, or `offset` bytes into arena or weights."""

    space: Space
    index: int = 0
    offset: int = 0


@dataclass(frozen=True)
class Call:
    """One operator at run time.

    `workspace` is the arena offset of the first thread's workspace, or -1 where
    the kernel needs none; further threads use memory of their own. `threads` is as in `Kernel`. `fetch` is
    the number of what is decoded into the arena before the call, or -1.
    """

    symbol: str
    args: tuple[Ref, ...]
    tasks: int
    label: str
    operator: str
    workspace: int = -1
    macs: int = 0
    threads: int = 0
    fetch: int = -1


@dataclass(frozen=True)
class Port:
    """A graph input or output as the caller sees it: row-major; `dtype` as in the IR's text (`f32`)."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Module:
    """A compiled kernel: code that defines `symbol`, in the form that the program's target takes.

    For a processor that is an object file. `texts` are by file suffix what it was made of on the way.
    """

    symbol: str
    code: bytes
    texts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Program:
    """Everything an artifact holds.

    `arena_bytes` includes the first thread's workspaces; every further thread
    needs `workspace_bytes` more. Weights are laid out at `weight_offsets`
    (each a multiple of `alignment.ALIGNMENT`). Where the artifact holds them coded, each
    has its stream in `streams` (`codegen.weights`), which the runtime decodes; an array that one of
    `transforms` makes has an empty one. What is decoded in each run, right before a call, is in `fetches`.
    `table` is what streams have in common, where they do.
    `kernels` are what the modules were compiled from, by symbol. `finished` is all their code as a GPU's own
    assembler makes it, where that was asked for.
    """

    name: str
    target: Target
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    calls: tuple[Call, ...]
    modules: tuple[Module, ...]
    weights: tuple[np.ndarray, ...]
    weight_offsets: tuple[int, ...]
    arena_bytes: int
    workspace_bytes: int
    manifest: dict[str, Any] = field(default_factory=dict)
    streams: tuple[bytes, ...] = ()
    transforms: tuple[Transform, ...] = ()
    fetches: tuple[Fetch, ...] = ()
    table: bytes = b""
    kernels: Mapping[str, Kernel] = field(default_factory=dict)
    finished: bytes = b""
