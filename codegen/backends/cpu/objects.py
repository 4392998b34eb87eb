"""From a kernel's LLVM IR to an object file, with llvmlite."""

from __future__ import annotations

import re

import llvmlite.binding as llvm

from ...kernel import Kernel
from ...program import Module
from ...targets.target import Target
from ...tvm_lowering import lower, tir_text
from .machine import LOCK, target_machine, tuned, tuning


def build_object(kernel: Kernel, symbol: str, target: Target) -> Module:
    """Lowers and compiles `kernel` to an object that exports `symbol` alone."""
    llvm_ir = lower(kernel, symbol, target)
    return Module(symbol, compile_object(llvm_ir, symbol, target), {"ll": llvm_ir})


def compile_object(llvm_ir: str, symbol: str, target: Target) -> bytes:
    """Object code of `llvm_ir`, whose `SYMBOL_kernel` gets the interface of `program`.

    Raises RuntimeError with LLVM's message where the IR does not parse or verify.
    """
    with LOCK:
        code: bytes = target_machine(target).emit_object(_optimized(llvm_ir, symbol, target))
    return code


def texts_of(module: Module, kernel: Kernel, target: Target) -> dict[str, str]:
    """TIR, LLVM IR and assembly of a kernel, by the suffixes of files, for people."""
    tir = tir_text(kernel, module.symbol, target)
    return {"py": tir, **module.texts, "s": assembly_of(module, target)}


def assembly_of(module: Module, target: Target) -> str:
    """The kernel's code as assembly text, for people."""
    with LOCK:
        optimized = _optimized(module.texts["ll"], module.symbol, target)
        text: str = target_machine(target).emit_assembly(optimized)
    return text


def _optimized(llvm_ir: str, symbol: str, target: Target) -> llvm.ModuleRef:
    machine = target_machine(target)
    wrapper = _wrapper(llvm_ir, symbol, tuning(target))
    module = llvm.parse_assembly(_apart(tuned(llvm_ir, target), symbol) + wrapper)
    module.verify()
    _optimize(module, machine)
    return module


def _apart(llvm_ir: str, symbol: str) -> str:
    """`SYMBOL_kernel` stays a function of its own: in its wrapper, LLVM would optimize it a second time."""
    return re.sub(rf"^(define .*@{re.escape(symbol)}_kernel\(.*)\{{$", r"\1noinline {", llvm_ir, flags=re.M)


def _wrapper(llvm_ir: str, symbol: str, attributes: str) -> str:
    """`void SYMBOL(ptr args, ptr workspace, i32 begin, i32 end)`: unpacks `args` and calls the kernel."""
    found = re.search(rf"^define .*@{re.escape(symbol)}_kernel\((.*)\) ", llvm_ir, flags=re.M)
    if found is None:
        raise ValueError(f"the LLVM IR does not define {symbol}_kernel")
    count = len(re.findall(r"(?:^|, )ptr\b", found[1])) - 1  # the last pointer is the workspace
    lines = [f"define void @{symbol}(ptr %args, ptr %workspace, i32 %begin, i32 %end) {attributes} {{"]
    for i in range(count):
        lines.append(f"  %slot{i} = getelementptr ptr, ptr %args, i32 {i}")
        lines.append(f"  %arg{i} = load ptr, ptr %slot{i}")
    passed = [*(f"ptr %arg{i}" for i in range(count)), "ptr %workspace", "i32 %begin", "i32 %end"]
    lines.append(f"  call void @{symbol}_kernel({', '.join(passed)})")
    return "\n".join([*lines, "  ret void", "}"]) + "\n"


def _optimize(module: llvm.ModuleRef, machine: llvm.TargetMachine) -> None:
    """O2 without what undoes register tiles or repeats work: kernels arrive vectorized and unrolled."""
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.slp_vectorization = False
    options.loop_unrolling = False
    options.loop_vectorization = True  # plain loops of other kernels
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)
