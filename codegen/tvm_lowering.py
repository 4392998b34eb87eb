"""From TIR to LLVM IR: the one module that imports TVM at its top.

The pass list is our own and short, since kernels arrive already tiled,
vectorized and unrolled; it has no packed calling convention, so what comes out
is a plain `void k(ptr..., i32 begin, i32 end)` that calls nothing of TVM.
"""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .tir import tvm_alone

with tvm_alone():
    import tvm
    from tvm import tirx

from .kernel import Kernel
from .stream_functions import with_functions
from .targets.target import Target
from .tir import FENCE, OPAQUE, PIN, extremes, fenced
from .vector.streams import PREFIX

# TVM defines conversions of binary16 in every module, which `_plain` leaves out: to optimize them took LLVM
# as long as a small kernel. This file tells it to leave them alone.
_UNTOUCHED = Path(__file__).with_name("tvm_halves.csv")
_LOCK = threading.Lock()  # of threads that build kernels side by side, one at a time is in TVM


def lower(kernel: Kernel, symbol: str, target: Target, level: int = 1) -> str:
    """LLVM IR text that defines `SYMBOL_kernel(ptr..., i32, i32)` and is reproducible.

    `level` is how much TVM lets LLVM optimize: 0 leaves everything to whoever gets the text.
    """
    with _LOCK:
        return _lowered(kernel, symbol, target, level)


def tir_text(kernel: Kernel, symbol: str, target: Target) -> str:
    """What `lower` begins with, for people."""
    with _LOCK:
        text: str = _named(kernel, symbol, target).script(show_meta=False)
    return text


def _named(kernel: Kernel, symbol: str, target: Target) -> tirx.PrimFunc:
    with fenced(target.isa.fences), extremes(target.isa.compared):
        built = kernel.build()
    return built.with_attr({"global_symbol": f"{symbol}_kernel", "tirx.noalias": not kernel.overwritten})


def _lowered(kernel: Kernel, symbol: str, target: Target, level: int) -> str:
    module = tvm.IRModule({f"{symbol}_kernel": _named(kernel, symbol, target)})
    host = _tvm_target(target, 0 if kernel.wraps else level)
    lowered = tvm.ir.transform.Sequential(_passes(host))(module)
    built = tvm.get_global_func("target.build.llvm")(lowered, host)
    text = _fenced(_opaque(_pinned(_plain(built.inspect_source("ll"), f"{symbol}_kernel"))))
    text = with_functions(_wrapping(text) if kernel.wraps else text)
    return _unaliased(text, kernel.overwritten) if kernel.overwritten else text


def _passes(host: tvm.target.Target) -> list[Any]:
    """Buffers are flat already, and index expressions are left to LLVM, which is quicker at them."""
    x = tirx.transform
    return [x.BindTarget(host), x.StorageRewrite(), x.StmtSimplify(), x.LowerIntrin()]


def _tvm_target(target: Target, level: int) -> tvm.target.Target:
    """The architecture with the row's features: the core would bring its own (see `machine`)."""
    baseline = target.cpu.baseline
    row: dict[str, Any] = {"kind": "llvm", "mtriple": target.triple, "mcpu": baseline, "opt-level": level}
    if level:
        row["cl-opt"] = [f"-forceattrs-csv-path:string={_UNTOUCHED}"]
    if target.features:
        row["mattr"] = [f"+{name}" for name in target.features]
    if target.triple.endswith("hf"):
        row["mfloat-abi"] = "hard"
    return tvm.target.Target(row)


def _plain(text: str, name: str) -> str:
    """Only the function and what it needs: no debug records, no metadata (TBAA names hold addresses)."""
    lines = text.split("\n")
    defined = [i for i, line in enumerate(lines) if line.startswith("define ") and f"@{name}(" in line]
    if not defined:
        raise ValueError(f"TVM produced no function {name}")
    begin, end = defined[0], lines.index("}", defined[0]) + 1
    code = "\n".join(line for line in lines[begin:end] if not line.lstrip(" ").startswith("#dbg_"))
    code = code.replace("define dllexport void", "define internal void", 1)
    around = lines[:begin] + lines[end:]
    head = [line for line in around if line.startswith(("target datalayout", "target triple"))]
    declared = [d for d in around if d.startswith("declare ") and _called(d) in code]
    declared = [d for d in declared if not any(name in d for name in (FENCE, PIN, OPAQUE, PREFIX))]
    constants = [c for c in around if re.match(r"@\S+ = .*constant", c) and c.split(" ")[0] in code]
    named = set(re.findall(r"#[0-9]+", "\n".join([code, *declared])))
    attributes = [a for a in around if a.startswith("attributes #") and a.split(" ")[1] in named]
    return _bare("\n".join([*head, "", *constants, code, "", *declared, *attributes]) + "\n")


def _bare(text: str) -> str:
    """Without metadata, by two patterns: those that begin with a letter are found quickly."""
    for begin in (", !", " !"):
        text = re.sub(begin + r"(?:dbg|tbaa|prof|llvm\.loop) ![0-9]+", "", text)
    return text


def _wrapping(text: str) -> str:
    """Arithmetic on vectors without the promise, which TVM always gives, that nothing overflows."""
    return re.sub(r"= (add|sub|mul) (?:nsw |nuw )+(?=<)", r"= \1 ", text)


def _pinned(text: str) -> str:
    """Pins as code that may change a vector's register; ARM alone has fences, and calls these `w`."""
    vector = r"<4 x i32>"
    return re.sub(
        rf"call {vector} @{PIN}\({vector} (?:\w+ )*(%\w+)\).*$",
        r'call <4 x i32> asm sideeffect "", "=w,0"(<4 x i32> \1)', text, flags=re.M,
    )  # fmt: skip


def _opaque(text: str) -> str:
    """Indices of which LLVM shall know nothing, as code that gives back its operand."""
    call = rf"call i32 @{OPAQUE}\(i32 (?:\w+ )*(%?[\w.]+)\)[^\n]*"
    return re.sub(call, r'call i32 asm "", "=r,0"(i32 \1)', text)


def _fenced(text: str) -> str:
    """Fences as statements that may write memory, and one at the start that tells of every pointer."""
    if FENCE not in text:
        return text
    text = re.sub(
        rf"^.*call void @{FENCE}\(.*$", '  call void asm sideeffect "", "~{memory}"()', text, flags=re.M
    )
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
