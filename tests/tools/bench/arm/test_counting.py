"""Instructions are counted by class, to the last one, in a program of which every one is known."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from secateur.tools.bench.arm import counting
from secateur.tools.bench.arm.counting import CLASSES, CountError, Counts, snapshots

needs_tools = pytest.mark.skipif(
    shutil.which("qemu-aarch64") is None or shutil.which("gcc") is None,
    reason="qemu-user or gcc is not installed",
)

ROUNDS = 10
BODY = {
    "fma32": """
        fmla v0.4s, v1.4s, v2.4s ; fmls v0.2s, v1.2s, v2.2s ; fmla v0.4s, v1.4s, v2.s[3]
        fmls v0.2d, v1.2d, v2.d[1] ; fmadd s0, s1, s2, s3 ; fnmsub d0, d1, d2, d3
    """,
    "fma16": """
        fmla v0.8h, v1.8h, v2.8h ; fmls v0.4h, v1.4h, v2.4h ; fmla v0.8h, v1.8h, v2.h[7]
        fmls v0.8h, v1.8h, v2.h[0] ; fmadd h0, h1, h2, h3
    """,
    "dot": """
        sdot v0.4s, v1.16b, v2.16b ; udot v0.2s, v1.8b, v2.8b ; sdot v0.4s, v1.16b, v31.4b[3]
        udot v0.4s, v1.16b, v2.4b[0] ; usdot v0.4s, v1.16b, v2.16b ; usdot v0.4s, v1.16b, v2.4b[1]
        sudot v0.4s, v1.16b, v2.4b[2]
    """,
    "mmla": """
        smmla v0.4s, v1.16b, v2.16b ; ummla v0.4s, v1.16b, v2.16b ; usmmla v0.4s, v1.16b, v2.16b
    """,
    "imlal": """
        smull v0.8h, v1.8b, v2.8b ; umull2 v0.8h, v1.16b, v2.16b ; smlal2 v0.8h, v1.16b, v2.16b
        umlal v0.4s, v1.4h, v2.4h ; smlsl v0.4s, v1.4h, v2.4h ; smlal v0.4s, v1.4h, v2.h[3]
        umlal2 v0.4s, v1.8h, v2.h[3] ; smull2 v0.4s, v1.8h, v2.h[0] ; smlsl v0.4s, v1.4h, v2.h[3]
        mla v0.8h, v1.8h, v2.8h ; mls v0.4s, v1.4s, v2.4s ; mla v0.4s, v1.4s, v2.s[1]
        mls v0.8h, v1.8h, v2.h[1] ; sadalp v0.4s, v1.8h ; uadalp v0.8h, v1.16b
    """,
    "vload": """
        ldr q0, [sp] ; ldr s0, [sp, #4] ; ldur q0, [sp, #1] ; ldp q0, q1, [sp] ; ldr q0, [sp], #0
        ld1 {v0.16b, v1.16b}, [sp] ; ld1r {v0.4s}, [sp] ; ld1 {v0.s}[1], [sp] ; ldr q0, 1b ; ldr b0, [sp]
        ldr q0, [sp, x10] ; ld4 {v0.4s, v1.4s, v2.4s, v3.4s}, [sp] ; ldp d0, d1, [sp, #16]! ; sub sp, sp, #16
    """,
    "vstore": """
        str q0, [x11] ; str s0, [x11] ; stur q0, [x11, #1] ; stp q0, q1, [x11] ; st1 {v0.16b}, [x11]
        st1 {v0.s}[1], [x11] ; str h0, [x11, x10] ; str q0, [x11], #0 ; st2 {v0.4s, v1.4s}, [x11]
    """,
    "vother": """
        fmul v0.4s, v1.4s, v2.4s ; fadd v0.4s, v1.4s, v2.4s ; dup v0.4s, v1.s[0] ; pmull v0.8h, v1.8b, v2.8b
        sqrdmulh v0.8h, v1.8h, v2.8h ; mul v0.4s, v1.4s, v2.4s ; fmov x12, d0 ; movi v0.4s, #0
        mul v0.4s, v1.4s, v2.s[0] ; fmul v0.4s, v1.4s, v2.s[0] ; sqdmull v0.4s, v1.4h, v2.4h
        zip1 v0.4s, v1.4s, v2.4s ; fcvtas v0.4s, v1.4s ; tbl v0.16b, {v1.16b}, v2.16b ; fmax s0, s1, s2
        sshll v0.8h, v1.8b, #0 ; saddlp v0.4s, v1.8h ; fmulx v0.4s, v1.4s, v2.4s ; sqdmlal v0.4s, v1.4h, v2.4h
    """,
    "gld/st": """
        ldr x12, [sp] ; str x12, [x11] ; ldp x12, x13, [sp] ; stp x12, x13, [x11] ; ldrb w12, [sp]
        ldrsw x12, [sp] ; ldur x12, [sp, #1] ; ldr x12, 1b ; prfm pldl1keep, [sp] ; ldaxr x12, [x11]
    """,
    "branch": """
        b . + 4 ; cbz x9, . + 4 ; tbnz x9, #63, . + 4 ; bl . + 4 ; b.eq . + 4
    """,
    "int": """
        add x12, x10, x10 ; madd x12, x10, x10, x10 ; smull x12, w10, w10 ; lsl x12, x10, #3
        csel x12, x10, x9, eq
        mov x12, #77 ; adr x12, 1b ; movk x12, #1, lsl #16 ; nop ; mrs x12, fpcr ; udiv x12, x10, x9
    """,
}  # fmt: skip
"""Instructions by class; a loop executes them. One `sub` stands among the loads, to keep the stack."""

START = """
    .arch armv8.6-a+fp16+i8mm+dotprod
    .global _start
_start:
    sub sp, sp, #256
    mov x10, #0
    add x11, sp, #128
    mov x0, #1
    mov x1, x11
    mov x8, #113
    svc #0
    mov x9, #{rounds}
    .balign 16
1:
{body}
    subs x9, x9, #1
    b.eq 2f
    b 1b
2:
    mov x8, #113
    svc #0
    mov x0, #{status}
    mov x8, #93
    svc #0
"""


def instructions(text: str) -> list[str]:
    return [part.strip() for line in text.strip().splitlines() for part in line.split(";")]


def assembled(folder: Path, body: str, status: int = 0) -> Path:
    """A static program that executes `body` ten times between two requests for the time."""
    source, program = folder / "known.S", folder / "known"
    source.write_text(START.format(rounds=ROUNDS, body=body, status=status))
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-linux-musl", "-nostdlib", "-static"]
    done = subprocess.run([*command, source, "-o", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return program


@needs_tools
def test_every_instruction_is_counted_once_in_its_class(tmp_path: Path) -> None:
    body = "\n".join(line for text in BODY.values() for line in instructions(text))
    before, after, end = snapshots([assembled(tmp_path, body)], "max")[0]
    counts = dict(zip(CLASSES, (after - before).by_class, strict=True))
    wanted = {name: ROUNDS * len(instructions(text)) for name, text in BODY.items()}
    wanted["vload"] -= ROUNDS  # the sub
    wanted["int"] += ROUNDS + ROUNDS + 3  # it; subs; mov x9, mov x8, svc
    wanted["branch"] += 2 * ROUNDS - 1
    assert counts == wanted
    assert (end - after).total == 3


@needs_tools
def test_a_count_follows_the_program(tmp_path: Path) -> None:
    """The same but for one instruction: the test above would see it."""
    counts = []
    for text in ("fmla v0.4s, v1.4s, v2.4s", "fmla v0.4s, v1.4s, v2.4s\n fmla v0.4s, v1.4s, v2.4s"):
        before, after, _ = snapshots([assembled(tmp_path, text)], "max")[0]
        counts.append(after - before)
    assert (counts[1] - counts[0]).of("fma32") == (counts[1] - counts[0]).total == ROUNDS


@needs_tools
def test_a_program_that_fails_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CountError, match="exit code 3"):
        snapshots([assembled(tmp_path, "nop", status=3)], "max")


@needs_tools
def test_a_processor_that_is_not_known_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CountError, match="cortex-z1"):
        snapshots([assembled(tmp_path, "nop")], "cortex-z1")


def test_without_an_emulator_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "qemu-aarch64" else name)
    monkeypatch.setattr(counting, "_plugin", lambda _, folder, __: folder)
    with pytest.raises(CountError, match="apt-get install qemu-user"):
        snapshots(["program"], "max")


def test_counts_are_subtracted_class_by_class() -> None:
    one, two = Counts((1,) * len(CLASSES)), Counts(tuple(range(len(CLASSES))))
    assert (two - one).total == sum(range(len(CLASSES))) - len(CLASSES)
    assert (two - one).of("int") == len(CLASSES) - 2
