"""The driver: its text, and the programs it refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from secateur.codegen.backends.cpu.driver import driver_text, emit_driver
from secateur.codegen.program import Call, Module, Port, Program, Ref, Space
from secateur.codegen.program_check import ProgramError, check_program
from secateur.codegen.targets.rows import TARGETS

ARGS = (Ref(Space.INPUT, 0), Ref(Space.WEIGHTS, offset=64), Ref(Space.ARENA, offset=128))
CALL = Call("k", ARGS, 7, "conv1", "nn.conv", workspace=256, macs=9)
TINY = Program(
    "tiny", TARGETS["x86-64-v3"], (Port("x", "f32", (2, 3)),), (Port("y", "f32", (2, 3)),),
    (CALL, Call("k", (Ref(Space.ARENA, offset=128), Ref(Space.OUTPUT, 0)), 1, 'odd "name"\nü', "nn.relu")),
    (Module("k", b""),), (np.zeros(4, np.float32), np.zeros(8, np.int8)), (64, 128), 512, 64,
)  # fmt: skip

EXPECTED = """\
target triple = "x86_64-unknown-linux-gnu"
declare void @rt_dispatch(ptr, ptr, ptr, ptr, i32, i32)
declare void @k(ptr, ptr, i32, i32)

define void @model_driver(ptr %state, ptr %arena, ptr %weights, ptr %inputs, ptr %outputs) {
  %args = alloca [3 x ptr]
  ; 0: conv1
  %c0a0.at = getelementptr ptr, ptr %inputs, i32 0
  %c0a0 = load ptr, ptr %c0a0.at
  %c0a0.slot = getelementptr ptr, ptr %args, i32 0
  store ptr %c0a0, ptr %c0a0.slot
  %c0a1 = getelementptr i8, ptr %weights, i64 64
  %c0a1.slot = getelementptr ptr, ptr %args, i32 1
  store ptr %c0a1, ptr %c0a1.slot
  %c0a2 = getelementptr i8, ptr %arena, i64 128
  %c0a2.slot = getelementptr ptr, ptr %args, i32 2
  store ptr %c0a2, ptr %c0a2.slot
  %c0w = getelementptr i8, ptr %arena, i64 256
  call void @rt_dispatch(ptr %state, ptr @k, ptr %args, ptr %c0w, i32 7, i32 0)
  ; 1: odd "name" \\xfc
  %c1a0 = getelementptr i8, ptr %arena, i64 128
  %c1a0.slot = getelementptr ptr, ptr %args, i32 0
  store ptr %c1a0, ptr %c1a0.slot
  %c1a1.at = getelementptr ptr, ptr %outputs, i32 0
  %c1a1 = load ptr, ptr %c1a1.at
  %c1a1.slot = getelementptr ptr, ptr %args, i32 1
  store ptr %c1a1, ptr %c1a1.slot
  call void @rt_dispatch(ptr %state, ptr @k, ptr %args, ptr null, i32 1, i32 1)
  ret void
}
"""


def test_text_of_the_driver() -> None:
    assert driver_text(TINY) == EXPECTED


def test_calls_without_tasks_are_left_out() -> None:
    text = driver_text(replace(TINY, calls=(replace(CALL, tasks=0), CALL)))
    assert text.count("call void @rt_dispatch") == 1
    assert "i32 7, i32 1)" in text


@pytest.mark.parametrize(("name", "machine"), [("x86-64-v3", 62), ("rpi3", 183), ("rpi2", 40)])
def test_objects_for_every_architecture(name: str, machine: int) -> None:
    data = emit_driver(replace(TINY, target=TARGETS[name]))
    assert data[:4] == b"\x7fELF"
    assert int.from_bytes(data[18:20], "little") == machine


def _call(**changes: Any) -> dict[str, Any]:
    return {"calls": (replace(CALL, **changes),)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_call(symbol="absent"), r"no module for \['absent'\]"),
        (_call(tasks=-1), r"call 0 \(conv1\): -1 tasks"),
        (_call(tasks=2**31), r"call 0 \(conv1\): 2147483648 tasks"),
        (_call(macs=-1), "-1 multiply-accumulates"),
        (_call(workspace=512), "workspace at 512 lies outside the arena"),
        (_call(workspace=-2), "workspace at -2 lies outside the arena"),
        (_call(args=(Ref(Space.INPUT, 1),)), "argument 0: input 1 is out of range, limit 1"),
        (_call(args=(Ref(Space.OUTPUT, -1),)), "argument 0: output -1 is out of range"),
        (_call(args=(Ref(Space.ARENA, offset=513),)), "arena 513 is out of range, limit 512"),
        (_call(args=(Ref(Space.WEIGHTS, offset=137),)), "weights 137 is out of range, limit 136"),
        ({"weight_offsets": (64, 65)}, "offset 65 overlap others or are not 64-byte aligned"),
        ({"weight_offsets": (64, 64)}, "offset 64 overlap others"),
        ({"weight_offsets": (64,)}, "2 weights, 1 offsets"),
        ({"modules": (Module("k", b""), Module("k", b""))}, "two kernels have the same symbol"),
        ({"modules": (Module("rt_dispatch", b""),)}, "'rt_dispatch' cannot name a kernel"),
        ({"modules": (Module("a b", b""),)}, "'a b' cannot name a kernel"),
        ({"inputs": (Port("x", "f8", (1,)),)}, "input 'x' has unknown element type 'f8'"),
        ({"outputs": (Port("y", "f32", ()), Port("y", "f32", ()))}, "two outputs have the same name"),
    ],
)
def test_programs_that_contradict_themselves_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        check_program(replace(TINY, **change))
