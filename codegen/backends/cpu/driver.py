"""The driver: one function that makes every call of a `Program` in order.

For each call it fills an array of argument pointers (arena base + constant,
weights base + constant, caller's input or output) and hands kernel, arguments,
workspace and task count to the runtime's `rt_dispatch`. Offsets are constants
of the machine code; the board interprets nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import llvmlite.binding as llvm

from secateur.ir.errors import SecateurError

from ...program import ALIGNMENT, Call, Port, Program, Ref, Space
from .machine import LOCK, target_machine

DTYPE_BYTES = {
    "f32": 4, "f16": 2, "f64": 8, "i8": 1, "u8": 1, "i16": 2, "u16": 2,
    "i32": 4, "u32": 4, "i64": 8, "u64": 8, "bool": 1,
}  # fmt: skip

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = re.compile(r"(secateur|model|rt)_.*")


class ProgramError(SecateurError):
    """A program contradicts itself; nothing can be built from it."""


def weights_bytes(program: Program) -> int:
    """Bytes from the start of the weights to the end of the last array."""
    ends = [at + w.nbytes for at, w in zip(program.weight_offsets, program.weights, strict=True)]
    return max(ends, default=0)


def check_program(program: Program) -> None:
    """ProgramError at the first contradiction: a reference out of range, an unknown kernel, overlaps."""
    _check_ports("input", program.inputs)
    _check_ports("output", program.outputs)
    _check_kernels(program)
    _check_weights(program)
    limits = {
        Space.INPUT: len(program.inputs), Space.OUTPUT: len(program.outputs),
        Space.ARENA: program.arena_bytes, Space.WEIGHTS: weights_bytes(program),
    }  # fmt: skip
    for number, call in enumerate(program.calls):
        _check_call(f"call {number} ({call.label})", call, limits)


def _check_ports(kind: str, ports: tuple[Port, ...]) -> None:
    names = [port.name for port in ports]
    if len(set(names)) != len(names):
        raise ProgramError(f"two {kind}s have the same name: {sorted(names)}")
    for port in ports:
        if port.dtype not in DTYPE_BYTES:
            raise ProgramError(f"{kind} '{port.name}' has unknown element type '{port.dtype}'")


def _check_kernels(program: Program) -> None:
    symbols = [kernel.symbol for kernel in program.kernels]
    for symbol in symbols:
        if not _IDENTIFIER.fullmatch(symbol) or _RESERVED.fullmatch(symbol):
            raise ProgramError(f"'{symbol}' cannot name a kernel")
    if len(set(symbols)) != len(symbols):
        raise ProgramError("two kernels have the same symbol")
    if missing := {call.symbol for call in program.calls} - set(symbols):
        raise ProgramError(f"no kernel object for {sorted(missing)}")


def _check_weights(program: Program) -> None:
    if len(program.weights) != len(program.weight_offsets):
        raise ProgramError(f"{len(program.weights)} weights, {len(program.weight_offsets)} offsets")
    end = 0
    for offset, array in sorted(
        zip(program.weight_offsets, program.weights, strict=True), key=lambda row: row[0]
    ):
        if offset % ALIGNMENT or offset < end:
            raise ProgramError(
                f"weights at offset {offset} overlap others or are not {ALIGNMENT}-byte aligned"
            )
        end = offset + array.nbytes


def _check_call(where: str, call: Call, limits: dict[Space, int]) -> None:
    if not 0 <= call.tasks < 2**31:
        raise ProgramError(f"{where}: {call.tasks} tasks")
    if call.macs < 0:
        raise ProgramError(f"{where}: {call.macs} multiply-accumulates")
    if not -1 <= call.workspace < max(1, limits[Space.ARENA]):
        raise ProgramError(f"{where}: workspace at {call.workspace} lies outside the arena")
    for number, ref in enumerate(call.args):
        _check_ref(f"{where}, argument {number}", ref, limits[ref.space])


def _check_ref(where: str, ref: Ref, limit: int) -> None:
    if ref.space in (Space.INPUT, Space.OUTPUT):
        inside, value = 0 <= ref.index < limit, ref.index
    else:  # an empty tensor may lie at the very end
        inside, value = 0 <= ref.offset <= limit, ref.offset
    if not inside:
        raise ProgramError(f"{where}: {ref.space.value} {value} is out of range, limit {limit}")


_PROLOGUE = """\
target triple = "{triple}"
declare void @rt_dispatch(ptr, ptr, ptr, ptr, i32, i32)
{kernels}
define void @model_driver(ptr %state, ptr %arena, ptr %weights, ptr %inputs, ptr %outputs) {{
  %args = alloca [{slots} x ptr]
"""


def driver_text(program: Program) -> str:
    """LLVM IR of `model_driver(state, arena, weights, inputs, outputs)`."""
    kernels = "".join(f"declare void @{k.symbol}(ptr, ptr, i32, i32)\n" for k in program.kernels)
    slots = max((len(call.args) for call in program.calls), default=0)
    prologue = _PROLOGUE.format(triple=program.target.triple, kernels=kernels, slots=max(1, slots))
    calls = [
        line for index, call in enumerate(program.calls) if call.tasks for line in _call_lines(index, call)
    ]
    return prologue + "".join(f"  {line}\n" for line in calls) + "  ret void\n}\n"


def _call_lines(index: int, call: Call) -> Iterator[str]:
    yield f"; {index}: {_ascii(call.label)}"
    for slot, ref in enumerate(call.args):
        name = f"%c{index}a{slot}"
        yield from _pointer_lines(name, ref)
        yield f"{name}.slot = getelementptr ptr, ptr %args, i32 {slot}"
        yield f"store ptr {name}, ptr {name}.slot"
    workspace = "null"
    if call.workspace >= 0:
        workspace = f"%c{index}w"
        yield f"{workspace} = getelementptr i8, ptr %arena, i64 {call.workspace}"
    kernel = f"ptr @{call.symbol}, ptr %args, ptr {workspace}"
    yield f"call void @rt_dispatch(ptr %state, {kernel}, i32 {call.tasks}, i32 {index})"


def _pointer_lines(name: str, ref: Ref) -> Iterator[str]:
    if ref.space in (Space.INPUT, Space.OUTPUT):
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
