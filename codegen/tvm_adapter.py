"""The one module that imports TVM: building TIR, and lowering it to LLVM IR.

Kernels are built with TVMScript's builder (`T`): explicit loops, flat buffers
over raw pointers, explicit vectors. The pass list is our own and short, since
kernels arrive already tiled, vectorized and unrolled; it has no packed calling
convention, so what comes out is a plain `void k(ptr..., i32 begin, i32 end)`
that calls nothing of TVM.
"""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import tvm
from tvm import tirx
from tvm.script.ir_builder import IRBuilder
from tvm.tirx.script import builder as T  # noqa: N812  (the name TVM's own scripts use)

from .kernel import Kernel
from .targets import Target

__all__ = [
    "Registers",
    "T",
    "fence",
    "load",
    "lower",
    "prefetch",
    "prim_func",
    "splat",
    "store",
    "view",
    "when",
]

Expr = Any  # a TIR expression
Buffer = Any  # a TIR buffer
_UNBOUNDED = 1 << 30  # elements; bounds are the builder's business, not the buffer's
_FENCE = "secateur_fence"
_LOCK = threading.Lock()  # of threads that build kernels side by side, one at a time is in TVM
_FENCED: ContextVar[bool] = ContextVar("fenced", default=False)  # whether the target's kernels have fences


def prim_func(pointers: Sequence[str | tuple[str, str]], body: Callable[..., None]) -> tirx.PrimFunc:
    """The function of `pointers` (float32, or `(name, dtype)`), a workspace and a task range.

    `body(buffer..., workspace, begin, end)` emits the code; buffers are flat.
    """
    typed = [p if isinstance(p, tuple) else (p, "float32") for p in pointers]
    with IRBuilder() as build, T.prim_func():
        T.func_name("kernel")
        handles = [(T.arg(n, T.handle(d)), d) for n, d in [*typed, ("workspace", "float32")]]
        begin, end = T.arg("begin", T.int32()), T.arg("end", T.int32())
        buffers = [T.decl_buffer((_UNBOUNDED,), d, data=h) for h, d in handles]
        body(*buffers, begin, end)
    return build.get()


def view(buffer: Buffer, dtype: str) -> Buffer:
    """The same memory as a flat buffer of another element type."""
    return T.decl_buffer((_UNBOUNDED,), dtype, data=buffer.data)


def splat(value: Expr, lanes: int, dtype: str = "float32") -> Expr:
    """A vector of `lanes` copies; a scalar when `lanes` is 1. Python numbers become `dtype`."""
    if isinstance(value, (int, float)):
        value = tirx.const(value, dtype)
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
    """Ends a step: later loads from the buffers stay behind it, on ARM or `always`.

    LLVM would load the operands of several steps first, which need more registers than
    a register tile leaves, and spill. On x86 it does so in few loops; in others fences only cost time.
    """
    if _FENCED.get() or always:
        T.evaluate(T.call_extern("void", _FENCE, data.data, weights.data))


@contextmanager
def when(condition: Expr) -> Iterator[None]:
    """Code that runs where `condition` (a TIR or Python boolean) holds."""
    with T.If(condition), T.Then():
        yield


class Registers:
    """`count` vectors of `lanes` elements that live in registers; indices are Python integers."""

    def __init__(self, count: int, lanes: int, dtype: str = "float32") -> None:
        self.count, self.lanes, self.dtype = count, lanes, dtype
        self._buffer = T.alloc_buffer((count * lanes,), dtype, scope="local")

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


def lower(kernel: Kernel, symbol: str, target: Target) -> tuple[str, str]:
    """TIR text and LLVM IR text; the latter defines `SYMBOL_kernel(ptr..., i32, i32)` and is reproducible."""
    with _LOCK:
        return _lowered(kernel, symbol, target)


def _lowered(kernel: Kernel, symbol: str, target: Target) -> tuple[str, str]:
    alone = not kernel.overwritten
    function = _built(kernel, target).with_attr({"global_symbol": f"{symbol}_kernel", "tirx.noalias": alone})
    module = tvm.IRModule({f"{symbol}_kernel": function})
    tir = function.script(show_meta=False)
    host = _tvm_target(target)
    lowered = tvm.ir.transform.Sequential(_passes(host))(module)
    built = tvm.get_global_func("target.build.llvm")(lowered, host)
    text = _fenced(_plain(built.inspect_source("ll"), f"{symbol}_kernel"))
    return tir, text if alone else _unaliased(text, kernel.overwritten)


def _built(kernel: Kernel, target: Target) -> tirx.PrimFunc:
    before = _FENCED.set(not target.triple.startswith("x86"))
    try:
        return kernel.build()
    finally:
        _FENCED.reset(before)


def _passes(host: tvm.target.Target) -> list[Any]:
    """Buffers are flat already, and index expressions are left to LLVM, which is quicker at them."""
    x = tirx.transform
    return [x.BindTarget(host), x.StorageRewrite(), x.StmtSimplify(), x.LowerIntrin()]


def _tvm_target(target: Target) -> tvm.target.Target:
    """The architecture with the row's features: the core would bring its own (see `machine`)."""
    row: dict[str, Any] = {"kind": "llvm", "mtriple": target.triple, "mcpu": target.baseline, "opt-level": 1}
    if target.features:
        row["mattr"] = [f"+{name}" for name in target.features]
    if target.triple.endswith("hf"):
        row["mfloat-abi"] = "hard"
    return tvm.target.Target(row)


def _plain(text: str, name: str) -> str:
    """Only the function and what it needs: no debug records, no metadata (TBAA names hold addresses)."""
    text = re.sub(r"^ +#dbg_.*\n", "", text, flags=re.M)
    text = re.sub(r",? !(?:dbg|tbaa|prof|llvm\.loop) ![0-9]+", "", text)
    head = re.findall(r"^target (?:datalayout|triple).*$", text, flags=re.M)
    body = re.search(rf"^define [^\n]*@{re.escape(name)}\(.*?^}}$", text, flags=re.M | re.S)
    if body is None:
        raise ValueError(f"TVM produced no function {name}")
    code = body[0].replace("define dllexport void", "define internal void", 1)
    declared = [d for d in re.findall(r"^declare .*$", text, flags=re.M) if _called(d) in code]
    declared = [d for d in declared if _FENCE not in d]
    constants = [c for c in re.findall(r"^@\S+ = .*constant.*$", text, flags=re.M) if c.split(" ")[0] in code]
    attributes = re.findall(r"^attributes #.*$", text, flags=re.M)
    return "\n".join([*head, "", *constants, code, "", *declared, *attributes]) + "\n"


def _fenced(text: str) -> str:
    """Fences as statements that may write memory, and one at the start that tells of every pointer."""
    text, fences = re.subn(
        rf"^.*call void @{_FENCE}\(.*$", '  call void asm sideeffect "", "~{memory}"()', text, flags=re.M
    )
    if not fences:
        return text
    head = re.search(r"^define .*\{\n([\w.]+:.*\n)?", text, flags=re.M)
    if head is None:
        raise ValueError("TVM produced no function")
    pointers = re.findall(r"\bptr\b[^,%]*(%\w+)", head[0])
    told = f'"{",".join("r" * len(pointers))}"({", ".join(f"ptr {p}" for p in pointers)})'
    return f'{text[: head.end()]}  call void asm sideeffect "", {told}\n{text[head.end() :]}'


def _unaliased(text: str, overwritten: Sequence[int]) -> str:
    """Marks as noalias every pointer but the output, which is the last but one, and what it may overwrite."""
    head, parameters, rest = re.split(r"(^define [^\n]*)", text, maxsplit=1, flags=re.M)
    shared = {*overwritten, len(re.findall(r"\bptr\b", parameters)) - 2}
    places = itertools.count()
    marked = re.sub(r"\bptr\b", lambda _: "ptr" if next(places) in shared else "ptr noalias", parameters)
    return head + marked + rest


def _called(declaration: str) -> str:
    found = re.search(r"@[\w.$]+\(", declaration)
    return found[0] if found else "\0"
