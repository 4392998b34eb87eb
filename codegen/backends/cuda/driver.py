"""The driver of a GPU's program: one function that launches every kernel in order.

It runs on the processor beside the GPU, and its pointers are into the GPU's memory. `rt_launch` of the C
runtime gets the kernel's number, its arguments and how many tasks it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import llvmlite.binding as llvm

from ...arguments import argument_lines, ascii_of, workspace_lines
from ...program import Call, Program
from ...program_check import ProgramError, check_program
from ...targets.target import Target
from ..cpu.machine import LOCK, target_machine

MOST_ARGUMENTS = 128  # of a kernel, as in runtime/device.c

_PROLOGUE = """\
target triple = "{triple}"
declare void @rt_launch(ptr, i32, ptr, i32, ptr, i32, i32, i32)
define void @model_driver(ptr %state, ptr %arena, ptr %weights, ptr %inputs, ptr %outputs) {{
  %args = alloca [{slots} x ptr]
"""


def driver_text(program: Program) -> str:
    """LLVM IR of `model_driver(state, arena, weights, inputs, outputs)`."""
    numbers = {module.symbol: number for number, module in enumerate(program.modules)}
    slots = max((len(call.args) for call in program.calls), default=0)
    if slots > MOST_ARGUMENTS:
        raise ProgramError(f"a kernel takes {slots} buffers, a GPU's at most {MOST_ARGUMENTS}")
    prologue = _PROLOGUE.format(triple=program.target.host.triple, slots=max(1, slots))
    calls = [
        line
        for index, call in enumerate(program.calls)
        if call.tasks
        for line in _call_lines(index, call, numbers)
    ]
    return prologue + "".join(f"  {line}\n" for line in calls) + "  ret void\n}\n"


def _call_lines(index: int, call: Call, numbers: Mapping[str, int]) -> Iterator[str]:
    yield f"; {index}: {ascii_of(call.label)}"
    yield from argument_lines(index, call)
    workspace, lines = workspace_lines(index, call)
    yield from lines
    kernel = f"i32 {numbers[call.symbol]}, ptr %args, i32 {len(call.args)}, ptr {workspace}"
    yield f"call void @rt_launch(ptr %state, {kernel}, i32 {call.tasks}, i32 {call.threads}, i32 {index})"


def emit_driver(program: Program) -> bytes:
    """The driver as an object file for the processor; ProgramError where the program is unsound."""
    check_program(program)
    with LOCK:
        machine = target_machine(Target(program.target.name, program.target.host))
        parsed = llvm.parse_assembly(driver_text(program))
        parsed.verify()
        emitted: bytes = machine.emit_object(parsed)
    return emitted
