"""Limits on memory and latency as keywords of `compile`."""

from pathlib import Path

import pytest

import secateur
from secateur.compiler import DEFAULT_PIPELINE
from secateur.limits import limited
from secateur.passes.memory import arena_report

MODEL = Path(__file__).parents[2] / "examples" / "digits" / "resnet20.onnx"


def test_limits_become_options_of_the_pass_that_chooses() -> None:
    found = limited("canonicalize,fuse,quantize,select,layout,memory", 4 << 20, 0.02)
    assert found == "canonicalize,fuse,quantize,select{memory=4MiB,seconds=0.02},layout,memory"


def test_without_limits_the_text_stays() -> None:
    assert limited("fuse , select") == "fuse , select"


def arena(artifact: secateur.Artifact) -> int:
    return arena_report(artifact.graph).peak


def test_a_compiled_network_keeps_its_limit(tmp_path: Path) -> None:
    leanest = secateur.compile(MODEL, tmp_path / "leanest.so", latency=1000)
    least = arena(leanest)
    assert least <= arena(secateur.compile(MODEL, tmp_path / "free.so"))
    artifact = secateur.compile(MODEL, tmp_path / "lean.so", memory=least)
    assert arena(artifact) == least
    assert artifact.manifest["pipeline"].split(",")[2].startswith("select{memory=")


def test_an_impossible_limit_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(
        secateur.SecateurError, match=r"nothing fits in 1024 bytes; the least possible is \d+"
    ):
        secateur.compile(MODEL, tmp_path / "out.so", memory=1024)
    with pytest.raises(secateur.SecateurError, match=r"nothing fits in 1e-09 s; the least possible is \d"):
        secateur.compile(MODEL, tmp_path / "out.so", latency=1e-9)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("limit", [{"memory": -1}, {"latency": -1.0}, {"latency": float("nan")}])
def test_a_limit_that_is_no_number_from_0_on_is_refused(limit: dict[str, float]) -> None:
    with pytest.raises(secateur.SecateurError, match=r"must be a number from 0 on, is (-1|nan)"):
        limited(DEFAULT_PIPELINE, **limit)  # type: ignore[arg-type]


def test_limits_beside_a_pipeline_are_refused() -> None:
    with pytest.raises(secateur.SecateurError, match="do not go together with a pipeline; write select"):
        secateur.compile(MODEL, pipeline=DEFAULT_PIPELINE, memory=1 << 20)


def test_limits_where_nothing_is_chosen_any_more_are_refused() -> None:
    with pytest.raises(secateur.SecateurError, match="have been chosen already"):
        limited("layout,memory", 1 << 20)
