"""From a kernel to PTX: TVM lowers it, llvmlite emits it.

A GPU's kernel takes its buffers, its workspace and the number of tasks. What `Kernel` describes as a range
of tasks becomes a kernel in which every thread computes one.
"""

from __future__ import annotations

import re

import llvmlite.binding as llvm

from secateur.ir.errors import SecateurError

from ....kernel import Kernel
from ....program import Module
from ....targets.machine import Architecture
from ....targets.target import Target
from ....tvm_lowering import lower, tir_text
from ..async_copy import with_copies
from ..matrix import defined
from ..thread import thread_of, workspace_stride
from .library import with_library
from .machine import LOCK, TRIPLE, target_machine

_HEAD = re.compile(r"target (?:datalayout|triple) = .*\n")
_DOUBLES = re.compile(r"@llvm\.(exp2?|log(?:2|10)?|pow|sin|cos|tanh?)\.(?:v\d+)?f64\b")
_PREFETCH = re.compile(r"^.*@llvm\.prefetch.*\n", flags=re.M)  # GPUs have none that helps
_WORDS = re.compile(r"((?:load|store) <(?P<count>[248]) x (?:i32|float|half)>.*), align (?P<element>[24])\b")
_ALONE = 384  # threads of a block that a multiprocessor has no other beside
_TUNED = re.compile(r' "(?:target|tune)-[a-z]+"(?:="[^"]*")?')

_THREAD = """\
declare i32 @llvm.nvvm.read.ptx.sreg.tid.x()
declare i32 @llvm.nvvm.read.ptx.sreg.ntid.x()
declare i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
define ptx_kernel void @{symbol}({parameters}, i32 %tasks) {{
entry:
  %tid = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %ntid = call i32 @llvm.nvvm.read.ptx.sreg.ntid.x()
  %ctaid = call i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
  %first = mul i32 %ctaid, %ntid
  %task = add i32 %first, %tid
  %inside = icmp slt i32 %task, %tasks
  br i1 %inside, label %compute, label %done
compute:
  %wide = sext i32 %task to i64
  %offset = mul i64 %wide, {stride}
  %own = getelementptr i8, ptr %workspace, i64 %offset
  %next = add nsw i32 %task, 1
  call void @{symbol}_kernel({arguments}, ptr %own, i32 %task, i32 %next)
  br label %done
done:
  ret void
}}
"""


# A block's number is its task, and the memory that its threads share stands for the workspace. A driver's
# compiler has to know how many threads share a multiprocessor's registers, and where one block is to have
# all of them: it would spill some to make room for another.
_BLOCK = """\
@{symbol}_shared = internal addrspace(3) global [{bytes} x i8] undef, align 128
declare i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
define ptx_kernel void @{symbol}({parameters}, i32 %tasks) "nvvm.maxntid"="{threads}"{alone} {{
  %task = call i32 @llvm.nvvm.read.ptx.sreg.ctaid.x()
  %next = add nsw i32 %task, 1
  %shared = addrspacecast ptr addrspace(3) @{symbol}_shared to ptr
  call void @{symbol}_kernel({arguments}, ptr %shared, i32 %task, i32 %next)
  ret void
}}
"""


def build_module(kernel: Kernel, symbol: str, target: Target) -> Module:
    """PTX of a kernel, without the head that names version and architecture; texts show the rest."""
    text = llvm_of(kernel, symbol, target)
    ptx = emit(text, target.cuda.architecture)
    return Module(symbol, _body(ptx).encode(), {"ll": text})


def llvm_of(kernel: Kernel, symbol: str, target: Target) -> str:
    """The LLVM IR that becomes PTX."""
    llvm_ir = lower(kernel, symbol, thread_of(target), 0)
    text = with_copies(with_library(defined(portable(llvm_ir))))
    if kernel.threads:
        return _shared(text, symbol) + _block(llvm_ir, symbol, kernel)
    return text + _entry(llvm_ir, symbol, workspace_stride(kernel))


def texts_of(module: Module, kernel: Kernel, target: Target) -> dict[str, str]:
    """TIR, LLVM IR and PTX of a kernel, by the suffixes of files, for people."""
    tir = tir_text(kernel, module.symbol, thread_of(target))
    ptx = ptx_head(target.cuda.architecture) + module.code.decode()
    return {"py": tir, **module.texts, "ptx": ptx}


def portable(llvm_ir: str) -> str:
    """TVM's LLVM IR without what ties it to a processor."""
    calls = _PREFETCH.sub("", llvm_ir) if "@llvm.prefetch" in llvm_ir else llvm_ir
    return re.sub(r"(attributes #\d+ = \{) *\}", r"\1 nounwind }", _TUNED.sub("", _HEAD.sub("", calls)))


def _shared(text: str, symbol: str) -> str:
    """A block's kernel moves aligned words, two or four; what its threads share changes at a barrier.

    It is inlined, whatever its size: else its pointers would not be known as global or shared.
    """
    start = rf"(^define .*@{re.escape(symbol)}_kernel\([^\n]*)"
    head, parameters, rest = re.split(start, text, maxsplit=1, flags=re.M)
    *others, last = re.split(r"(?=\bptr\b)", parameters.removesuffix("{") + "alwaysinline {")
    plain = re.sub(r"\b(?:noalias|readonly|writeonly|readnone) ", "", last)
    return head + "".join(others) + plain + _WORDS.sub(_aligned, rest)


def _aligned(found: re.Match[str]) -> str:
    return f"{found[1]}, align {min(int(found['element']) * int(found['count']), 16)}"


def _block(llvm_ir: str, symbol: str, kernel: Kernel) -> str:
    """The kernel of whose tasks each is a block's."""
    parameters, arguments = _parameters(llvm_ir, symbol)
    return _BLOCK.format(
        symbol=symbol,
        parameters=parameters,
        arguments=arguments,
        bytes=max(kernel.workspace, 16),
        threads=kernel.threads,
        alone=' "nvvm.minctasm"="1"' if kernel.threads >= _ALONE else "",
    )


def _entry(llvm_ir: str, symbol: str, stride: int) -> str:
    """The kernel whose threads each compute a task."""
    parameters, arguments = _parameters(llvm_ir, symbol)
    return _THREAD.format(symbol=symbol, parameters=parameters, arguments=arguments, stride=stride)


def _parameters(llvm_ir: str, symbol: str) -> tuple[str, str]:
    """A kernel's parameters but for the number of tasks, and the buffers among them that it hands on."""
    found = re.search(rf"^define .*@{re.escape(symbol)}_kernel\((.*)\) ", llvm_ir, flags=re.M)
    if found is None:
        raise ValueError(f"the LLVM IR does not define {symbol}_kernel")
    count = len(re.findall(r"(?:^|, )ptr\b", found[1])) - 1  # the last pointer is the workspace
    arguments = ", ".join(f"ptr %arg{i}" for i in range(count))
    return f"{arguments}, ptr %workspace", arguments


def _check_calls(text: str) -> None:
    """SecateurError where LLVM would end the process: it has these of 64-bit floats from a library alone."""
    if called := _DOUBLES.search(text):
        raise SecateurError(
            f"a kernel calls {called[1]} of 64-bit floats, which GPUs do not have; "
            "give the network in float32"
        )


def emit(text: str, architecture: Architecture) -> str:
    """PTX of LLVM IR, optimized; SecateurError where LLVM cannot make it."""
    _check_calls(text)
    with LOCK:
        machine = target_machine(architecture)
        head = f'target datalayout = "{machine.target_data}"\ntarget triple = "{TRIPLE}"\n'
        module = llvm.parse_assembly(head + text)
        module.verify()
        options = llvm.create_pipeline_tuning_options(speed_level=3)
        options.slp_vectorization = False
        options.loop_vectorization = False
        options.loop_unrolling = True
        passes = llvm.create_pass_builder(machine, options)
        passes.getModulePassManager().run(module, passes)
        ptx: str = machine.emit_assembly(module)
    if called := re.search(r"\.extern \.func.*?(\w+)\s*$", ptx, flags=re.M):
        raise SecateurError(f"a kernel calls {called[1]}, which GPUs do not have")
    return ptx


def _body(ptx: str) -> str:
    """What follows the head."""
    return ptx[re.search(r"^\.address_size.*\n", ptx, flags=re.M).end() :].strip() + "\n"  # type: ignore[union-attr]


def ptx_head(architecture: Architecture) -> str:
    """The start of a PTX file for one architecture."""
    major, minor = divmod(architecture.ptx, 10)
    return f".version {major}.{minor}\n.target {architecture.name}\n.address_size 64\n\n"
