"""`Limits` of a compilation."""

from pathlib import Path
from typing import Any

import pytest

import secateur
from secateur import Limits
from secateur.codegen.backends.cpu.backend import BACKEND
from secateur.passes.memory.memory import arena_report
from secateur.pipeline import limited
from tests.shorter import shorter

MODEL = shorter("digits")


def test_limits_become_options_of_the_pass_that_chooses() -> None:
    found = limited("canonicalize,fuse,quantize,select,layout,memory", Limits(memory=4 << 20, latency=0.02))
    assert found == "canonicalize,fuse,quantize,select{memory=4MiB,seconds=0.02},layout,memory"


def test_limits_on_accuracy_stand_beside_others() -> None:
    found = limited(
        "fuse,select{memory=4MiB}", Limits(min_sqnr=110, without=["winograd6", "winograd4@/conv1"])
    )
    assert found == 'fuse,select{memory=4MiB,sqnr=110.0,without="winograd6\\nwinograd4@/conv1"}'
    assert limited("select", Limits(without="winograd6")) == limited("select", Limits(without=["winograd6"]))


def test_without_limits_the_text_stays() -> None:
    assert limited("fuse , select", Limits()) == "fuse , select"
    assert limited("fuse , select", Limits(without=())) == "fuse , select"


def arena(artifact: secateur.Artifact) -> int:
    return arena_report(artifact.graph).peak


def test_a_compiled_network_keeps_its_limit(tmp_path: Path) -> None:
    leanest = secateur.compile(MODEL, tmp_path / "leanest.so", limits=Limits(latency=1000))
    least = arena(leanest)
    assert least <= arena(secateur.compile(MODEL, tmp_path / "free.so"))
    artifact = secateur.compile(MODEL, tmp_path / "lean.so", limits=Limits(memory=least))
    assert arena(artifact) == least
    assert artifact.manifest["pipeline"].split(",")[2].startswith("select{memory=")


def primitives(artifact: secateur.Artifact) -> list[str]:
    return [op["primitive"] for op in artifact.graph.operators if op.name == "prim.conv"]


def test_a_float_network_keeps_an_sqnr_and_has_nothing_forbidden(tmp_path: Path) -> None:
    quiet = secateur.compile(MODEL, tmp_path / "quiet.so", "rpi4", limits=Limits(min_sqnr=300))
    assert not {"winograd4", "winograd6"} & set(primitives(quiet))
    plain = secateur.compile(MODEL, tmp_path / "plain.so", "rpi4", limits=Limits(without="winograd6"))
    assert any("winograd" in name for name in primitives(plain))
    assert "winograd6" not in primitives(plain)


def test_an_impossible_limit_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(secateur.SecateurError, match=r"nothing fits in 1KiB; the least possible is \d+"):
        secateur.compile(MODEL, tmp_path / "out.so", limits=Limits(memory=1024))
    with pytest.raises(secateur.SecateurError, match=r"nothing fits in 1ns; the least possible is \d"):
        secateur.compile(MODEL, tmp_path / "out.so", limits=Limits(latency=1e-9))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "limit", [{"memory": -1}, {"latency": -1.0}, {"latency": float("nan")}, {"min_sqnr": -1.0}]
)
def test_a_limit_that_is_no_number_from_0_on_is_refused(limit: dict[str, Any]) -> None:
    with pytest.raises(secateur.SecateurError, match=r"must be a number from 0 on, is (-1|nan)"):
        Limits(**limit)


def test_a_limit_with_a_unit_is_no_number() -> None:
    limit: Any = "4MiB"
    with pytest.raises(secateur.SecateurError, match="memory must be a number, is '4MiB'"):
        Limits(memory=limit)


def test_limits_beside_a_pipeline_are_refused() -> None:
    expected = r"a limit \(memory, without\) does not go together with a pipeline; write it into that"
    limits = Limits(memory=1 << 20, without="winograd6")
    with pytest.raises(secateur.SecateurError, match=expected):
        secateur.compile(MODEL, pipeline=BACKEND.pipeline, limits=limits)


def test_limits_where_nothing_is_chosen_any_more_are_refused() -> None:
    with pytest.raises(secateur.SecateurError, match="have been chosen already"):
        limited("layout,memory", Limits(memory=1 << 20))
