"""`secateur compile --memory --latency`."""

from pathlib import Path

import pytest

from secateur.ir.errors import SecateurError
from secateur.tools.commands.limits import parse_duration, parse_size

from .conftest import Cli


@pytest.mark.parametrize(
    ("text", "size"),
    [("4MiB", 4 << 20), ("1.5 KiB", 1536), ("1843200", 1843200), ("2kB", 2000), ("64b", 64), ("0", 0)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("20ms", 0.02), ("500us", 5e-4), ("1.5s", 1.5), ("3 MS", 0.003), ("9ns", 9e-9), ("5.31e-05 s", 5.31e-5)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize("text", ["4 apples", "-4MiB", "MiB", "1e9e", "", "4MiB!"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(SecateurError, match="expected a size, such as 4MiB"):
        parse_size(text)


@pytest.mark.parametrize("text", ["20", "ms", "-1ms", "20 MiB", "inf"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(SecateurError, match="expected a time with its unit, such as 20ms"):
        parse_duration(text)


def test_limits_stand_in_the_pipeline_of_the_artifact(cli: Cli, model: Path, tmp_path: Path) -> None:
    words = ("--memory", "1MiB", "--latency", "1s", "--json")
    manifest = cli("compile", model, "-o", tmp_path / "out.so", *words).json["manifest"]
    assert manifest["pipeline"] == "canonicalize,fuse,select{memory=1MiB,seconds=1.0},layout,memory"
    assert manifest["arena_bytes"] <= 1 << 20


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--memory", "64"], "nothing fits in 64 bytes; the least possible is "),
        (["--latency", "1ns"], "nothing fits in 1e-09 s; the least possible is "),
        (["--memory", "4 apples"], "--memory 4 apples: expected a size"),
        (["--latency", "20"], "--latency 20: expected a time with its unit"),
        (
            ["--memory", "1MiB", "--pipeline", "fuse,select,layout,memory"],
            "memory and latency do not go together with a pipeline",
        ),
    ],
)
def test_limits_refused(
    cli: Cli, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli("compile", model, *words)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [("--memory", "64"), ("--latency", "1ns")])
def test_the_limit_named_as_the_nearest_is_kept(
    cli: Cli, model: Path, tmp_path: Path, words: tuple[str, str]
) -> None:
    refused = cli("compile", model, "-o", tmp_path / "out.so", *words).err
    nearest = refused.strip().partition("the least possible is ")[2].removesuffix(" bytes")
    assert cli("compile", model, "-o", tmp_path / "out.so", words[0], nearest).code == 0


def test_ir_whose_primitives_are_chosen_takes_no_limit(cli: Cli, model: Path, tmp_path: Path) -> None:
    cli("opt", model, "--pipeline", "canonicalize,fuse,select", "-o", tmp_path / "chosen.sir")
    result = cli("compile", tmp_path / "chosen.sir", "-o", tmp_path / "out.so", "--memory", "1MiB")
    assert result.code == 2
    assert "have been chosen already" in result.err
