"""What an instruction set can do is data of its row: rows check themselves, and kernels compare no names."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from secateur.codegen.targets.isa import AMX, AVX2, NEON32, VNNI, ByteLookup, Fractions
from secateur.codegen.targets.rows import PROCESSORS, TARGETS
from secateur.codegen.vector.fixed_point import fixed_point

CODEGEN = Path(__file__).parents[3] / "codegen"
KERNELS = sorted(
    [*(CODEGEN / "primitives").rglob("*.py"), *(CODEGEN / "vector").rglob("*.py"), CODEGEN / "tir.py"]
)
NAMES = {"triple", "zig_triple", "architecture", "features", "core", "baseline"}
"""Attributes of a target by which a kernel could tell one instruction set from another."""


def comparisons(source: str) -> Iterator[str]:
    """Where a kernel asks what a target is called, and not what it can do."""
    tree = ast.parse(source)
    shown = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FormattedValue) for n in ast.walk(f)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and id(node) not in shown:
            of_isa = ast.unparse(node.value).split(".")[-1] == "isa" and node.attr == "name"
            if node.attr in NAMES or of_isa:
                yield f"line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("path", KERNELS, ids=lambda p: str(p.relative_to(CODEGEN)))
def test_kernels_compare_no_names(path: Path) -> None:
    assert list(comparisons(path.read_text())) == []


@pytest.mark.parametrize(
    "source",
    ['if "avx512vnni" in target.features: pass', 'x = target.isa.name != "sse"', "isa.name in _X86",
     'target.triple.startswith("x86_64")', "target.cpu.architecture == 'armv7'", "f(target.cpu.core)"],
)  # fmt: skip
def test_a_comparison_would_be_seen(source: str) -> None:
    assert list(comparisons(source))


@pytest.mark.parametrize("source", ['f"no lookups in registers of {target.isa.name}"', "op.name == 'x'"])
def test_what_is_shown_is_no_comparison(source: str) -> None:
    assert list(comparisons(source)) == []


@pytest.mark.parametrize("name", PROCESSORS)
def test_a_row_names_the_features_of_its_instruction_set(name: str) -> None:
    target = TARGETS[name]
    assert set(target.isa.needs) <= set(target.features)
    assert (target.isa.dot == VNNI) == ("avx512vnni" in target.features)


def test_kernels_are_not_called_by_tiles_that_a_row_lacks() -> None:
    """Names of kernels, by which tables of times know them, are made of what rows have said before."""
    assert "tiles" not in repr(TARGETS["x86-64-v4-vnni"].machine)
    assert repr(TARGETS["x86-64-v4-vnni"].isa) != repr(TARGETS["x86-64-v4-amx"].isa)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: replace(AMX, columns=8), "rows of 64 bytes hold 8 sums"),
        (lambda: replace(AVX2, vector_bytes=24), "vectors are a power of two bytes"),
        (lambda: replace(AVX2, vector_registers=4), "registers at least 8"),
        (lambda: replace(AVX2, fractions=()), "fractions of"),
        (lambda: replace(AVX2, fractions=AVX2.fractions[::-1]), "fractions of"),
        (lambda: replace(NEON32, fractions=(*NEON32.fractions, Fractions(16, "p"))), "no more than a vector"),
        (lambda: ByteLookup("tbl2", 32), "lookups in 32 bytes"),
    ],
)
def test_rows_check_themselves(wrong: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrong()


@pytest.mark.parametrize(
    ("name", "channels", "lanes"),
    [("x86-64-v2", 64, 8), ("x86-64-v3", 64, 16), ("x86-64-v3", 48, 8), ("x86-64-v4", 64, 32),
     ("x86-64-v4", 32, 16), ("x86-64-v4-vnni", 16, 8), ("armv8-a", 64, 8), ("armv7-a+neon", 64, 8)],
)  # fmt: skip
def test_fractions_are_as_wide_as_the_channels_allow(name: str, channels: int, lanes: int) -> None:
    fixed = fixed_point(TARGETS[name], channels)
    assert fixed.lanes == lanes
    assert sorted(fixed.order()) == list(range(2 * lanes))
