"""Building TIR: explicit loops, flat buffers over raw pointers, explicit vectors, by TVMScript's builder `T`.

What kernels are written in. Buffers are flat and have no layout: by default TVM looks for
one through all that is open, which took a tenth of the time to lower a kernel. TVM takes
seconds to import, so it is imported when the first kernel is built, and not by asking a
primitive for its cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from typing import Any, TypeVar

from secateur.ir.support.unasked import hidden, told

__all__ = [
    "FENCE",
    "OPAQUE",
    "PIN",
    "Registers",
    "T",
    "either",
    "extremes",
    "fence",
    "fenced",
    "keeps_nan",
    "larger",
    "load",
    "opaque",
    "pinned",
    "prefetch",
    "prim_func",
    "smaller",
    "splat",
    "store",
    "tvm_alone",
    "view",
    "when",
]

Expr = Any  # a TIR expression
Chosen = TypeVar("Chosen")
Buffer = Any  # a TIR buffer
FENCE = "secateur_fence"  # what a fence calls, until lowering makes it a statement
PIN = "secateur_pin"  # the same for a pin
OPAQUE = "secateur_opaque"  # the same for an index
_UNBOUNDED = 1 << 30  # elements; bounds are the builder's business, not the buffer's
_FENCED: ContextVar[bool] = ContextVar("fenced", default=False)  # whether the target's kernels have fences
_EXTREMES: ContextVar[frozenset[str]] = ContextVar("extremes", default=frozenset())


@contextmanager
def tvm_alone() -> Iterator[None]:
    """Imports of TVM inside leave out what kernels do without, in a process that is ours.

    Other devices' backends and `disco` ask TVM for what it does not have: it answers with an exception, for
    which it reads the symbols of its library, and that took longer than all the rest of the import.
    """
    parts = ("tvm.relax", "tvm.runtime.disco", "tvm.s_tir.dlight", "tvm.s_tir.meta_schedule")
    with hidden(*parts), told(TVM_DEVICE_BACKEND_AUTOLOAD="0"):
        yield


class _Module:
    """A module of TVM that is imported when something of it is first used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        with tvm_alone():
            found = getattr(import_module(self._name), name)
        setattr(self, name, found)
        return found


T: Any = _Module("tvm.tirx.script.builder")  # the name that TVM's own scripts use
_tirx: Any = _Module("tvm.tirx")
_ir_builder: Any = _Module("tvm.script.ir_builder")


def prim_func(pointers: Sequence[str | tuple[str, str]], body: Callable[..., None]) -> Any:
    """The PrimFunc of `pointers` (float32, or `(name, dtype)`), a workspace and a task range.

    `body(buffer..., workspace, begin, end)` emits the code; buffers are flat.
    """
    typed = [p if isinstance(p, tuple) else (p, "float32") for p in pointers]
    with _ir_builder.IRBuilder() as build, T.prim_func():
        T.func_name("kernel")
        handles = [(T.arg(n, T.handle(d)), d) for n, d in [*typed, ("workspace", "float32")]]
        begin, end = T.arg("begin", T.int32()), T.arg("end", T.int32())
        buffers = [T.decl_buffer((_UNBOUNDED,), d, data=h, layout=None) for h, d in handles]
        body(*buffers, begin, end)
    return build.get()


def view(buffer: Buffer, dtype: str) -> Buffer:
    """The same memory as a flat buffer of another element type."""
    return T.decl_buffer((_UNBOUNDED,), dtype, data=buffer.data, layout=None)


def splat(value: Expr, lanes: int, dtype: str = "float32") -> Expr:
    """A vector of `lanes` copies; a scalar when `lanes` is 1. Python numbers become `dtype`."""
    if isinstance(value, (int, float)):
        value = _tirx.const(value, dtype)
    return value if lanes == 1 else T.Broadcast(value, lanes)


def load(buffer: Buffer, index: Expr, lanes: int) -> Expr:
    """`lanes` consecutive elements from `index` on."""
    return buffer[index] if lanes == 1 else buffer[T.Ramp(index, 1, lanes)]


def store(buffer: Buffer, index: Expr, value: Expr, lanes: int) -> None:
    T.buffer_store(buffer, value, [index if lanes == 1 else T.Ramp(index, 1, lanes)])


def prefetch(buffer: Buffer, index: Expr, level: int = 2, *, write: bool = False) -> None:
    """Asks for the cache line of an element, to read or write, in cache level 1 to 3; any address will do."""
    address = T.address_of(buffer[index])
    T.evaluate(
        T.call_llvm_intrin(
            "void", "llvm.prefetch", address, T.int32(int(write)), T.int32(4 - level), T.int32(1)
        )
    )


def fence(data: Buffer, weights: Buffer, *, always: bool = False) -> None:
    """Ends a step: later loads from the buffers stay behind it, where `Isa.fences` or `always`.

    LLVM would load the operands of several steps first, which need more registers than
    a register tile leaves, and spill. On x86 it does so in few loops; in others fences only cost time.
    """
    if _FENCED.get() or always:
        T.evaluate(T.call_extern("void", FENCE, data.data, weights.data))


def pinned(sums: Expr) -> Expr:
    """A vector of four int32 sums, complete before what follows is added, where `Isa.fences`.

    LLVM would sum the terms of several steps apart, and spill them.
    """
    return T.call_extern("int32x4", PIN, sums) if _FENCED.get() else sums


def opaque(index: Expr) -> Expr:
    """The same int32 in a register, of which LLVM knows nothing, where `Isa.fences`.

    Addresses a little beyond it are then short offsets, which ARM's accesses have. LLVM would take all from
    one place, and make a constant for each that is far.
    """
    if not _FENCED.get():
        return index
    register = Registers(1, 1, "int32")
    register[0] = T.call_extern("int32", OPAQUE, index)
    return register[0]


@contextmanager
def fenced(here: bool) -> Iterator[None]:
    """Whether kernels that are built inside have fences."""
    before = _FENCED.set(here)
    try:
        yield
    finally:
        _FENCED.reset(before)


def larger(a: Expr, b: Expr, lanes: int, dtype: str = "float32") -> Expr:
    """Of two vectors of floats; a NaN of `b` stays, and where `Isa.extremes` one of `a`."""
    return _native("llvm.maximum", a, b, lanes, dtype) if keeps_nan(lanes, dtype) else T.max(a, b)


def smaller(a: Expr, b: Expr, lanes: int, dtype: str = "float32") -> Expr:
    """The same."""
    return _native("llvm.minimum", a, b, lanes, dtype) if keeps_nan(lanes, dtype) else T.min(a, b)


def keeps_nan(lanes: int, dtype: str = "float32") -> bool:
    """Whether `larger` and `smaller` of so many lanes keep a NaN of either operand."""
    return dtype in _EXTREMES.get() and lanes % 4 == 0


def _native(name: str, a: Expr, b: Expr, lanes: int, dtype: str) -> Expr:
    llvm = f"{name}.v{lanes}f{dtype.removeprefix('float')}"
    return T.call_llvm_pure_intrin(f"{dtype}x{lanes}", llvm, a, b)


@contextmanager
def extremes(dtypes: frozenset[str]) -> Iterator[None]:
    """The types of which kernels that are built inside have maxima and minima that keep a NaN of either
    operand."""
    before = _EXTREMES.set(dtypes)
    try:
        yield
    finally:
        _EXTREMES.reset(before)


@contextmanager
def when(condition: Expr) -> Iterator[None]:
    """Code that runs where `condition` (a TIR or Python boolean) holds."""
    with T.If(condition), T.Then():
        yield


def either(condition: Expr, one: Chosen, other: Chosen) -> Iterator[Chosen]:
    """`one`, for code where `condition` holds, then `other`, for code where it does not hold."""
    if condition is True:
        yield one
        return
    with T.If(condition):
        with T.Then():
            yield one
        with T.Else():
            yield other


class Registers:
    """`count` vectors of `lanes` elements that live in registers; indices are Python integers."""

    def __init__(self, count: int, lanes: int, dtype: str = "float32") -> None:
        self.count, self.lanes, self.dtype = count, lanes, dtype
        self._buffer = T.alloc_buffer((count * lanes,), dtype, scope="local", layout=None)

    def __getitem__(self, index: int) -> Expr:
        return load(self._buffer, self._at(index), self.lanes)

    def __setitem__(self, index: int, value: Expr) -> None:
        store(self._buffer, self._at(index), value, self.lanes)

    def fill(self, value: float) -> None:
        for index in range(self.count):
            self[index] = splat(value, self.lanes, self.dtype)

    def _at(self, index: int) -> int:
        if not 0 <= index < self.count:
            raise IndexError(f"register {index} of {self.count}")
        return index * self.lanes
