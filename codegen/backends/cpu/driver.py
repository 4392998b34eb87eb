"""The driver: one function that makes every call of a `Program` in order.

For each call it fills an array of argument pointers (arena base + constant,
weights base + constant, caller's input or output) and hands kernel, arguments,
workspace and task count to the runtime's `rt_dispatch`. Offsets are constants
of the machine code; the board interprets nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import llvmlite.binding as llvm

from ...program import Call, Program, Ref
from ...program_check import check_program
from .machine import LOCK, target_machine

_PROLOGUE = """\
target triple = "{triple}"
declare void @rt_dispatch(ptr, ptr, ptr, ptr, i32, i32)
{kernels}
define void @model_driver(ptr %state, ptr %arena, ptr %weights, ptr %inputs, ptr %outputs) {{
  %args = alloca [{slots} x ptr]
"""


def driver_text(program: Program) -> str:
    """LLVM IR of `model_driver(state, arena, weights, inputs, outputs)`."""
    kernels = "".join(f"declare void @{m.symbol}(ptr, ptr, i32, i32)\n" for m in program.modules)
    slots = max((len(call.args) for call in program.calls), default=0)
    prologue = _PROLOGUE.format(triple=program.target.triple, kernels=kernels, slots=max(1, slots))
    calls = [
        line for index, call in enumerate(program.calls) if call.tasks for line in _call_lines(index, call)
    ]
    return prologue + "".join(f"  {line}\n" for line in calls) + "  ret void\n}\n"


def _call_lines(index: int, call: Call) -> Iterator[str]:
    yield f"; {index}: {_ascii(call.label)}"
    yield from _argument_lines(index, call)
    workspace = "null"
    if call.workspace >= 0:
        workspace = f"%c{index}w"
        yield f"{workspace} = getelementptr i8, ptr %arena, i64 {call.workspace}"
    kernel = f"ptr @{call.symbol}, ptr %args, ptr {workspace}"
    yield f"call void @rt_dispatch(ptr %state, {kernel}, i32 {call.tasks}, i32 {index})"


def _argument_lines(index: int, call: Call) -> Iterator[str]:
    for slot, ref in enumerate(call.args):
        name = f"%c{index}a{slot}"
        yield from _pointer_lines(name, ref)
        yield f"{name}.slot = getelementptr ptr, ptr %args, i32 {slot}"
        yield f"store ptr {name}, ptr {name}.slot"


def _pointer_lines(name: str, ref: Ref) -> Iterator[str]:
    if ref.space.is_callers:
        yield f"{name}.at = getelementptr ptr, ptr %{ref.space.value}s, i32 {ref.index}"
        yield f"{name} = load ptr, ptr {name}.at"
    else:
        yield f"{name} = getelementptr i8, ptr %{ref.space.value}, i64 {ref.offset}"


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode().replace("\n", " ").replace("\r", " ")


def emit_driver(program: Program) -> bytes:
    """The driver as an object file of the program's target; ProgramError where the program is unsound."""
    check_program(program)
    with LOCK:
        machine = target_machine(program.target)
        parsed = llvm.parse_assembly(driver_text(program))
        parsed.verify()
        emitted: bytes = machine.emit_object(parsed)
    return emitted
