"""The innermost loops of assembly, and the analytic cost model held against them and against llvm-mca."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from secateur.codegen.primitives.conv.im2row.plan import float_step_cycles
from secateur.codegen.targets.find import find
from secateur.ir.errors import SecateurError
from secateur.tools.checks.cost_check import (
    Row,
    loops_of,
    main,
    main_loop,
    row_of,
    simulated,
    simulated_cycles,
    table,
)
from secateur.tools.checks.cost_layers import LAYERS, Sample
from secateur.tools.checks.machine_loops import Loop, hottest, innermost

needs_mca = pytest.mark.skipif(shutil.which("llvm-mca") is None, reason="llvm-mca is not installed")

X86 = """
kernel:
    .cfi_startproc
.LBB0_1:                                # the outer loop: its label comes first
    xorl    %eax, %eax
.LBB0_2:                                #   Parent Loop BB0_1 Depth=1
    vbroadcastss    (%rsi,%rax,4), %zmm0
    vfmadd231ps     (%rdi,%rax), %zmm0, %zmm1
    vfmadd231ps     64(%rdi,%rax){1to16}, %zmm0, %zmm2
    vmovups %zmm1, 64(%rsp)             # 64-byte Spill
    vmovups %zmm2, (%rdx)
    leaq    8(%rax), %rax
    cmpq    $8, %rax
    jne     .LBB0_2
    decq    %rcx
    jne     .LBB0_1
    jmp     .LBB0_3
.LBB0_3:
    retq
"""

AARCH64 = """
kernel:
.LBB0_1:
    ldp     q0, q1, [x1], #32
    ld1r    { v2.4s }, [x0], #4         // of every lane
    fmla    v4.4s, v0.4s, v2.4s
    smlal2  v5.4s, v1.8h, v2.h[3]
    stp     q4, q5, [sp, #32]
    str     q4, [x2]
    subs    x3, x3, #1
    b.ne    .LBB0_1
    ret
"""

ARMV7 = """
kernel:
.LBB0_1:
    vld1.32 {d0, d1}, [r1]!
    add     r4, sp, #16
    vmla.f32        q2, q0, q1
    vmlal.s16       q3, d0, d2[0]       @ four products
    vst1.64 {d4, d5}, [r4:128]          @ 16-byte Spill
    add     r4, r0, #16
    vst1.64 {d4, d5}, [r4:128]
    subs    r3, r3, #1
    bcc     .LBB0_1
    bx      lr
"""


def only(assembly: str, architecture: str) -> Loop:
    (loop,) = innermost(assembly, architecture)
    return loop


@pytest.mark.parametrize(
    ("assembly", "architecture", "label", "counts"),
    [(X86, "x86_64", ".LBB0_2", (2, 3, 5, 1)), (AARCH64, "aarch64", ".LBB0_1", (2, 3, 4, 2)),
     (ARMV7, "armv7", ".LBB0_1", (2, 1, 6, 1))],
)  # fmt: skip
def test_instructions_are_counted(
    assembly: str, architecture: str, label: str, counts: tuple[int, ...]
) -> None:
    """(multiplications, loads, neither, stores to the stack)."""
    loop = only(assembly, architecture)
    assert (loop.label, loop.multiplies, loop.loads, loop.others, loop.spills) == (label, *counts)


@pytest.mark.parametrize(
    ("assembly", "architecture", "multiply", "instead"),
    [(X86, "x86_64", "vfmadd231ps     (%rdi,%rax), %zmm0, %zmm1", "vaddps (%rdi,%rax), %zmm0, %zmm1"),
     (AARCH64, "aarch64", "fmla ", "fadd "), (ARMV7, "armv7", "vmla.f32", "vadd.f32")],
)  # fmt: skip
def test_a_sum_is_not_a_multiplication(assembly: str, architecture: str, multiply: str, instead: str) -> None:
    assert multiply in assembly
    assert only(assembly.replace(multiply, instead), architecture).multiplies == 1


def test_a_multiplication_apart_from_its_sum_counts() -> None:
    """LLVM gives the Cortex-A7 no multiply-add, where it is not asked to."""
    assert only(ARMV7.replace("vmla.f32", "vmul.f32"), "armv7").multiplies == 2


def test_loop_text_ends_with_its_branch() -> None:
    lines = only(X86, "x86_64").text().splitlines()
    assert (lines[0].split()[0], lines[-1].split()) == ("vbroadcastss", ["jne", ".LBB0_2"])


def test_a_loop_goes_on_to_its_last_branch_back() -> None:
    twice = AARCH64.replace("    fmla ", "    cbz x4, .LBB0_1\n    fmla ")
    assert only(twice, "aarch64").multiplies == 2


@pytest.mark.parametrize("name", ["smlal2", "sdot", "udot", "usdot", "sudot", "smmla", "usmmla"])
def test_products_of_bytes_multiply(name: str) -> None:
    (loop,) = innermost(AARCH64.replace("fmla ", f"{name} "), "aarch64")
    (floats,) = innermost(AARCH64, "aarch64")
    assert loop.multiplies == floats.multiplies


def test_jumps_forward_make_no_loop() -> None:
    assert innermost("kernel:\n    b .LBB0_1\n    nop\n.LBB0_1:\n    ret\n", "aarch64") == []


def test_the_hottest_loop_has_a_whole_number_of_tiles() -> None:
    small = only(AARCH64, "aarch64")
    large = replace(small, multiplies=7)
    assert hottest([small, large]) is large
    assert hottest([small, large], 2) is small


def test_no_loop_is_refused() -> None:
    with pytest.raises(SecateurError, match=r"no loop multiplies a multiple of 3 times: \[2\]"):
        hottest([only(AARCH64, "aarch64")], 3)
    with pytest.raises(SecateurError, match=r"a multiple of 1 times: \[\]"):
        hottest([])


def test_unknown_architecture_is_refused() -> None:
    with pytest.raises(
        SecateurError, match="no syntax for assembly of 'riscv64'; known: x86_64, aarch64, armv7"
    ):
        innermost(AARCH64, "riscv64")


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--targets", "rpi4,rpi44"], "unknown target 'rpi44'; did you mean 'rpi4'?"),
     (["--targets", "rpi4", "--layers", "dense"], "unknown layer 'dense'; known: direct, pointwise"),
     (["--targets", ""], "unknown target ''")],
)  # fmt: skip
def test_unknown_names_are_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


@needs_mca
def test_code_that_llvm_mca_does_not_know_is_refused() -> None:
    loop = replace(only(AARCH64, "aarch64"), instructions=("frobnicate v0",))
    with pytest.raises(SecateurError, match="llvm-mca for cortex-a72: "):
        simulated_cycles(loop, find("rpi4"))


def test_without_llvm_mca_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SecateurError, match="apt-get install llvm"):
        simulated_cycles(only(AARCH64, "aarch64"), find("rpi4"))


@pytest.mark.parametrize(("versions", "core"), [((14,), "tsv110"), ((19, 14), "neoverse-n1")])
def test_the_newest_llvm_mca_simulates_the_a76_as_the_core_that_is_most_like_it(
    versions: Sequence[int], core: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs that know one core each, a cycle a round for code of any kind."""
    for version, known in zip(versions, (core, "none"), strict=False):
        program = tmp_path / f"llvm-mca-{version}"
        answer = f'case "$*" in *-mcpu={known}*) echo "Total Cycles: 100";; esac'
        program.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo LLVM version {version}.0.1\n{answer}\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert simulated("nop", find("rpi5")) == [1.0]


@needs_mca
def test_cycles_are_of_one_round() -> None:
    """Two dependent chains, each of a multiply-add: the second is twice as long."""
    loop = only(AARCH64, "aarch64")
    chains = [replace(loop, instructions=("fmla v4.4s, v0.4s, v2.4s",) * n) for n in (10, 20)]
    one, two = (simulated_cycles(chain, find("rpi4")) for chain in chains)
    assert one is not None
    assert two == pytest.approx(2 * one, rel=0.05)
    assert one >= 10


CHECKED = [
    ("rpi4", "direct"), ("rpi4", "winograd"), ("rpi4", "int8-direct"), ("rpi5", "pointwise"),
    ("rpi5", "int8-winograd"), ("x86-64-v3", "direct"), ("x86-64-v4-vnni", "pointwise"),
    ("x86-64-v4-vnni", "int8-winograd"), ("cortex-a15", "direct"),
]  # fmt: skip


@dataclass(frozen=True)
class Checked:
    sample: Sample
    loops: Sequence[Loop]
    row: Row


@pytest.fixture(scope="module")
def checked() -> dict[tuple[str, str], Checked]:
    return {which: _checked(*which) for which in CHECKED}


def _checked(name: str, layer: str) -> Checked:
    target = find(name)
    sample = LAYERS[layer](target)
    loops = loops_of(sample, target)
    simulate = shutil.which("llvm-mca") is not None
    return Checked(sample, loops, row_of(layer, sample, main_loop(sample, loops), target, simulate))


@pytest.mark.parametrize("which", CHECKED, ids=" ".join)
def test_the_hottest_loop_multiplies_register_tiles_and_spills_nothing(
    checked: dict[tuple[str, str], Checked], which: tuple[str, str]
) -> None:
    sample = checked[which].sample
    halves = which == ("rpi4", "int8-direct")  # two multiplications for a quad
    tile = sample.pixels * sample.vectors * (2 if halves else 1)
    most = hottest(checked[which].loops).multiplies
    assert most % tile == 0 or sample.steps == 3 * find(which[0]).lanes  # or a row of taps at a border
    assert (checked[which].row.multiplies, checked[which].row.spills) == (tile, 0)


@pytest.mark.parametrize("layer", ["pointwise", "winograd"])
def test_the_a7_multiplies_and_adds_at_once_by_elements(layer: str) -> None:
    """By copies of elements 2.1 instructions for a product; apart LLVM spills 10 and 16 registers."""
    target = find("rpi2")
    sample = LAYERS[layer](target)
    loop = main_loop(sample, loops_of(sample, target))
    assert loop.spills == 0
    assert not any(line.startswith("vadd.f32") for line in loop.instructions)
    assert len(loop.instructions) < 1.7 * loop.multiplies


def test_another_tile_than_the_kernels_is_refused(checked: dict[tuple[str, str], Checked]) -> None:
    found = checked["rpi5", "pointwise"]
    wrong = replace(found.sample, pixels=found.sample.pixels + 1)
    with pytest.raises(SecateurError, match=f"no loop multiplies a multiple of {wrong.tile} times"):
        main_loop(wrong, found.loops)


@pytest.mark.parametrize("which", CHECKED, ids=" ".join)
def test_a_step_loads_what_the_model_assumes(
    checked: dict[tuple[str, str], Checked], which: tuple[str, str]
) -> None:
    """At most one load for each pixel and each vector of weights."""
    row = checked[which].row
    pixels, vectors = map(int, row.tile.split("x"))
    assert row.loads <= pixels + vectors


@needs_mca
@pytest.mark.parametrize("which", CHECKED, ids=" ".join)
def test_the_model_agrees_with_llvm_mca(
    checked: dict[tuple[str, str], Checked], which: tuple[str, str]
) -> None:
    """Within a quarter, by LLVM 14 and 19."""
    ratio = checked[which].row.ratio
    assert ratio is not None
    assert 0.9 < ratio < 1.35


def test_a_tile_of_streams_executes_little_beside_its_products() -> None:
    """Copied pixels too: 274 instructions for 256 multiply-adds, which take the A72 258 cycles."""
    assert 16 < float_step_cycles(8, 2, find("rpi4")) < 1.1 * 16


def test_a_model_that_is_off_has_a_ratio_that_is_off(checked: dict[tuple[str, str], Checked]) -> None:
    row = replace(checked["rpi5", "int8-winograd"].row, simulated=100.0)
    assert replace(row, model=50.0).ratio == 0.5
    assert replace(row, simulated=None).ratio is None


def test_the_table_has_a_line_for_each_row(checked: dict[tuple[str, str], Checked]) -> None:
    rows = [found.row for found in checked.values()]
    head, *lines = table([*rows, replace(rows[0], simulated=None)]).splitlines()
    assert head.split()[:3] == ["target", "layer", "tile"]
    assert [tuple(line.split()[:2]) for line in lines] == [*CHECKED, ("rpi4", "direct")]
    assert lines[-1].split()[-2:] == ["-", "-"]


def test_json_holds_the_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--targets", "rpi4", "--layers", "depthwise", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["target"], row["layer"], row["tile"], row["multiplies"]) == ("rpi4", "depthwise", "14x1", 14)
    assert set(LAYERS) > {row["layer"]}
