"""What a program must be before anything is built from it."""

from __future__ import annotations

import re

from secateur.ir.errors import SecateurError

from .alignment import ALIGNMENT
from .program import Call, Port, Program, Ref, Space
from .weights.decoding import room_of_streams
from .weights.fetching import Fetch

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
    _check_modules(program)
    _check_weights(program)
    limits = {
        Space.INPUT: len(program.inputs), Space.OUTPUT: len(program.outputs),
        Space.ARENA: program.arena_bytes, Space.WEIGHTS: weights_bytes(program),
    }  # fmt: skip
    for number, call in enumerate(program.calls):
        _check_call(f"call {number} ({call.label})", call, limits)
        if not -1 <= call.fetch < len(program.fetches):
            raise ProgramError(f"call {number} ({call.label}): there is no fetch {call.fetch}")
    for number, fetch in enumerate(program.fetches):
        _check_fetch(number, fetch, program.arena_bytes)


def _check_ports(kind: str, ports: tuple[Port, ...]) -> None:
    names = [port.name for port in ports]
    if len(set(names)) != len(names):
        raise ProgramError(f"two {kind}s have the same name: {sorted(names)}")
    for port in ports:
        if port.dtype not in DTYPE_BYTES:
            raise ProgramError(f"{kind} '{port.name}' has unknown element type '{port.dtype}'")


def _check_modules(program: Program) -> None:
    symbols = [module.symbol for module in program.modules]
    for symbol in symbols:
        if not _IDENTIFIER.fullmatch(symbol) or _RESERVED.fullmatch(symbol):
            raise ProgramError(f"'{symbol}' cannot name a kernel")
    if len(set(symbols)) != len(symbols):
        raise ProgramError("two kernels have the same symbol")
    if missing := {call.symbol for call in program.calls} - set(symbols):
        raise ProgramError(f"no module for {sorted(missing)}")


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


def _check_fetch(number: int, fetch: Fetch, arena: int) -> None:
    ends = [at + array.nbytes for at, array in zip(fetch.offsets, fetch.arrays, strict=True)]
    inside = all(at >= 0 for at in fetch.offsets) and max(ends, default=0) <= fetch.work
    if not inside or fetch.work + fetch.room > arena:
        raise ProgramError(f"fetch {number} lies outside the arena of {arena} bytes")
    if room_of_streams(fetch.streams) > fetch.room:
        raise ProgramError(f"fetch {number}: {fetch.room} bytes are too few for its decoder")


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
    if ref.space.is_callers:
        inside, value = 0 <= ref.index < limit, ref.index
    else:  # an empty tensor may lie at the very end
        inside, value = 0 <= ref.offset <= limit, ref.offset
    if not inside:
        raise ProgramError(f"{where}: {ref.space.value} {value} is out of range, limit {limit}")
