"""Limits on memory and latency as keywords of `compile`."""

from pathlib import Path

import pytest

import secateur
from secateur.limits import limited
from secateur.passes.memory.memory import arena_report
from secateur.passes.registry import DEFAULT_PIPELINE

MODEL = Path(__file__).parents[2] / "examples" / "digits" / "resnet20.onnx"


def test_limits_become_options_of_the_pass_that_chooses() -> None:
    found = limited("canonicalize,fuse,quantize,select,layout,memory", 4 << 20, 0.02)
    assert found == "canonicalize,fuse,quantize,select{memory=4MiB,seconds=0.02},layout,memory"


def test_limits_on_accuracy_stand_beside_others() -> None:
    found = limited("fuse,select{memory=4MiB}", None, None, 110.0, ["winograd6", "winograd4@/conv1"])
    assert found == 'fuse,select{memory=4MiB,sqnr=110.0,without="winograd6\\nwinograd4@/conv1"}'
    assert limited("select", without="winograd6") == limited("select", without=["winograd6"])


def test_without_limits_the_text_stays() -> None:
    assert limited("fuse , select") == "fuse , select"
    assert limited("fuse , select", without=()) == "fuse , select"


def arena(artifact: secateur.Artifact) -> int:
    return arena_report(artifact.graph).peak


def test_a_compiled_network_keeps_its_limit(tmp_path: Path) -> None:
    leanest = secateur.compile(MODEL, tmp_path / "leanest.so", latency=1000)
    least = arena(leanest)
    assert least <= arena(secateur.compile(MODEL, tmp_path / "free.so"))
    artifact = secateur.compile(MODEL, tmp_path / "lean.so", memory=least)
    assert arena(artifact) == least
    assert artifact.manifest["pipeline"].split(",")[2].startswith("select{memory=")


def primitives(artifact: secateur.Artifact) -> list[str]:
    return [op["primitive"] for op in artifact.graph.operators if op.name == "prim.conv"]


def test_a_float_network_keeps_an_sqnr_and_has_nothing_forbidden(tmp_path: Path) -> None:
    quiet = secateur.compile(MODEL, tmp_path / "quiet.so", target="rpi4", min_sqnr=300)
    assert not {"winograd4", "winograd6"} & set(primitives(quiet))
    plain = secateur.compile(MODEL, tmp_path / "plain.so", target="rpi4", without="winograd6")
    assert any("winograd" in name for name in primitives(plain))
    assert "winograd6" not in primitives(plain)


def test_an_impossible_limit_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(
        secateur.SecateurError, match=r"nothing fits in 1024 bytes; the least possible is \d+"
    ):
        secateur.compile(MODEL, tmp_path / "out.so", memory=1024)
    with pytest.raises(secateur.SecateurError, match=r"nothing fits in 1e-09 s; the least possible is \d"):
        secateur.compile(MODEL, tmp_path / "out.so", latency=1e-9)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "limit", [{"memory": -1}, {"latency": -1.0}, {"latency": float("nan")}, {"min_sqnr": -1.0}]
)
def test_a_limit_that_is_no_number_from_0_on_is_refused(limit: dict[str, float]) -> None:
    with pytest.raises(secateur.SecateurError, match=r"must be a number from 0 on, is (-1|nan)"):
        limited(DEFAULT_PIPELINE, **limit)  # type: ignore[arg-type]


def test_limits_beside_a_pipeline_are_refused() -> None:
    expected = r"a limit \(memory, without\) does not go together with a pipeline; write it into that"
    with pytest.raises(secateur.SecateurError, match=expected):
        secateur.compile(MODEL, pipeline=DEFAULT_PIPELINE, memory=1 << 20, without="winograd6")


def test_limits_where_nothing_is_chosen_any_more_are_refused() -> None:
    with pytest.raises(secateur.SecateurError, match="have been chosen already"):
        limited("layout,memory", 1 << 20)
