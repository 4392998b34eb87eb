"""The driver: one function that makes every call of a `Program` in order.

For each call it fills an array of argument pointers (arena base + constant,
weights base + constant, caller's input or output) and hands kernel, arguments,
workspace and task count to the runtime's `rt_dispatch`. Offsets are constants
of the machine code; the board interprets nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

import llvmlite.binding as llvm

from ...arguments import argument_lines, ascii_of, workspace_lines
from ...program import Call, Program
from ...program_check import check_program
from .machine import LOCK, target_machine

_PROLOGUE = """\
target triple = "{triple}"
declare void @rt_dispatch(ptr, ptr, ptr, ptr, i32, i32)
{fetching}{kernels}
define void @model_driver(ptr %state, ptr %arena, ptr %weights, ptr %inputs, ptr %outputs) {{
  %args = alloca [{slots} x ptr]
"""


_FETCHING = "declare void @rt_fetch_weights(ptr, ptr, i32)\n"


def driver_text(program: Program) -> str:
    """LLVM IR of `model_driver(state, arena, weights, inputs, outputs)`."""
    kernels = "".join(f"declare void @{m.symbol}(ptr, ptr, i32, i32)\n" for m in program.modules)
    slots = max((len(call.args) for call in program.calls), default=0)
    fetching = _FETCHING if program.fetches else ""
    prologue = _PROLOGUE.format(
        triple=program.target.triple, fetching=fetching, kernels=kernels, slots=max(1, slots)
    )
    calls = [
        line for index, call in enumerate(program.calls) if call.tasks for line in _call_lines(index, call)
    ]
    return prologue + "".join(f"  {line}\n" for line in calls) + "  ret void\n}\n"


def _call_lines(index: int, call: Call) -> Iterator[str]:
    yield f"; {index}: {ascii_of(call.label)}"
    if call.fetch >= 0:
        yield f"call void @rt_fetch_weights(ptr %state, ptr %arena, i32 {call.fetch})"
    yield from argument_lines(index, call)
    workspace, lines = workspace_lines(index, call)
    yield from lines
    kernel = f"ptr @{call.symbol}, ptr %args, ptr {workspace}"
    yield f"call void @rt_dispatch(ptr %state, {kernel}, i32 {call.tasks}, i32 {index})"


def emit_driver(program: Program) -> bytes:
    """The driver as an object file of the program's target; ProgramError where the program is unsound."""
    check_program(program)
    with LOCK:
        machine = target_machine(program.target)
        parsed = llvm.parse_assembly(driver_text(program))
        parsed.verify()
        emitted: bytes = machine.emit_object(parsed)
    return emitted
