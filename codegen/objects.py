"""From a kernel's LLVM IR to an object file, with llvmlite."""

from __future__ import annotations

import functools
import re
import threading

import llvmlite.binding as llvm

from .kernel import Kernel
from .program import KernelObject
from .targets import Target

_LOCK = threading.Lock()  # llvmlite shares one global context


def build_object(kernel: Kernel, symbol: str, target: Target) -> KernelObject:
    """Lowers and compiles `kernel` to an object that exports `symbol` alone."""
    from .tvm_adapter import lower  # TVM takes seconds to import

    tir, llvm_ir = lower(kernel, symbol, target)
    code, assembly = compile_object(llvm_ir, symbol, target)
    return KernelObject(symbol, code, tir, llvm_ir, assembly)


def compile_object(llvm_ir: str, symbol: str, target: Target) -> tuple[bytes, str]:
    """Object code and assembly of `llvm_ir`, whose `SYMBOL_kernel` gets the interface of `program`.

    Raises RuntimeError with LLVM's message where the IR does not parse or verify.
    """
    with _LOCK:
        machine = _machine(target.triple, target.cpu, _features(target))
        module = llvm.parse_assembly(llvm_ir + _wrapper(llvm_ir, symbol))
        module.verify()
        _optimize(module, machine)
        return machine.emit_object(module), machine.emit_assembly(module)


def _wrapper(llvm_ir: str, symbol: str) -> str:
    """`void SYMBOL(ptr args, ptr workspace, i32 begin, i32 end)`: unpacks `args` and calls the kernel."""
    found = re.search(rf"^define .*@{re.escape(symbol)}_kernel\((.*)\) ", llvm_ir, flags=re.M)
    if found is None:
        raise ValueError(f"the LLVM IR does not define {symbol}_kernel")
    count = len(re.findall(r"(?:^|, )ptr\b", found[1])) - 1  # the last pointer is the workspace
    lines = [f"define void @{symbol}(ptr %args, ptr %workspace, i32 %begin, i32 %end) {{"]
    for i in range(count):
        lines.append(f"  %slot{i} = getelementptr ptr, ptr %args, i32 {i}")
        lines.append(f"  %arg{i} = load ptr, ptr %slot{i}")
    passed = [*(f"ptr %arg{i}" for i in range(count)), "ptr %workspace", "i32 %begin", "i32 %end"]
    lines.append(f"  call void @{symbol}_kernel({', '.join(passed)})")
    return "\n".join([*lines, "  ret void", "}"]) + "\n"


def _features(target: Target) -> str:
    return ",".join(f"+{name}" for name in target.features)


@functools.cache
def _machine(triple: str, cpu: str, features: str) -> llvm.TargetMachine:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    row = llvm.Target.from_triple(triple)
    return row.create_target_machine(cpu=cpu, features=features, opt=3, reloc="pic", codemodel="default")


def _optimize(module: llvm.ModuleRef, machine: llvm.TargetMachine) -> None:
    """O2 without what undoes register tiles or repeats work: kernels arrive vectorized and unrolled."""
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.slp_vectorization = False
    options.loop_unrolling = False
    options.loop_vectorization = True  # plain loops of other kernels
    passes = llvm.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)
