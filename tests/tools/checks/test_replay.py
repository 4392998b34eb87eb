"""Captured kernels: the same twice, and another choice is seen."""

from pathlib import Path

import pytest

from secateur.tools.checks import replay
from secateur.tools.checks.replay import Case, capture, differences, plain
from tests.shorter import shorter

MODEL = shorter("digits")
CASE = Case("resnet20", "x86-64-v3")


def test_two_captures_are_the_same_and_a_changed_one_is_seen(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("before", "after")]
    for folder in folders:
        folder.mkdir()
        capture(CASE, MODEL, folder)
    assert differences(CASE, *folders) == []
    kernels = folders[1] / f"{CASE.name}.ll"
    assert kernels.read_text().count("define internal void") > 5
    kernels.write_text(kernels.read_text().replace("fmul", "fadd", 1))
    graph = folders[1] / f"{CASE.name}.sir"
    graph.write_text(graph.read_text() + "\n")
    kernels_differ, graph_differs = differences(CASE, *folders)
    assert "1 of " in kernels_differ
    assert "lowered graph" in graph_differs


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("@direct_0123456789ab_kernel(", "@direct_kernel("),
        ("call @direct_0123456789ab", "call @direct"),
        ("%v_123", "%v_123"),
    ],
)
def test_hashes_of_symbols_are_left_out(text: str, expected: str) -> None:
    assert plain(text) == expected


def test_every_kind_of_processor_is_captured() -> None:
    targets = {case.target for case in replay.CASES}
    assert {"x86-64-v2", "x86-64-v3", "x86-64-v4", "x86-64-v4-vnni", "rpi2", "rpi4", "rpi5"} <= targets
    assert {case.int8 for case in replay.CASES} == {True, False}
