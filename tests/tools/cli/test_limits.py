"""`secateur compile --memory --latency --min-sqnr --without`, and the same of `inspect` and `select`."""

import math
import re
from pathlib import Path
from typing import Any

import pytest

from secateur.ir.errors import SecateurError
from secateur.tools.cli.quantities import QUANTITIES

from ..conftest import Cli


@pytest.mark.parametrize(
    ("text", "size"),
    [("4MiB", 4 << 20), ("1.5 KiB", 1536), ("1843200", 1843200), ("2kB", 2000), ("64b", 64), ("0", 0)],
)
def test_sizes(text: str, size: int) -> None:
    assert QUANTITIES["bytes"].parse(text, "--memory") == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("20ms", 0.02), ("500us", 5e-4), ("1.5s", 1.5), ("3 MS", 0.003), ("9ns", 9e-9), ("5.31e-05 s", 5.31e-5)],
)
def test_durations(text: str, seconds: float) -> None:
    assert QUANTITIES["seconds"].parse(text, "--latency") == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize("text", ["4 apples", "-4MiB", "MiB", "1e9e", "", "4MiB!"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(SecateurError, match="expected a size, such as 4MiB"):
        QUANTITIES["bytes"].parse(text, "--memory")


@pytest.mark.parametrize("text", ["20", "ms", "-1ms", "20 MiB", "inf"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(SecateurError, match="expected a time with its unit, such as 20ms"):
        QUANTITIES["seconds"].parse(text, "--latency")


def test_limits_stand_in_the_pipeline_of_the_artifact(cli: Cli, model: Path, tmp_path: Path) -> None:
    words = ("--memory", "1MiB", "--latency", "1s", "--json")
    manifest = cli("compile", model, "-o", tmp_path / "out.so", *words).json["manifest"]
    assert manifest["pipeline"] == "canonicalize,fuse,select{memory=1MiB,seconds=1.0},layout,memory"
    assert manifest["arena_bytes"] <= 1 << 20


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--memory", "64"], "nothing fits in 64 bytes; the least possible is "),
        (["--latency", "1ns"], "nothing fits in 1ns; the least possible is "),
        (["--memory", "4 apples"], "--memory 4 apples: expected a size"),
        (["--latency", "20"], "--latency 20: expected a time with its unit"),
        (["--min-sqnr", "-1"], "min_sqnr must be a number from 0 on, is -1"),
        (["--min-sqnr", "nan"], "min_sqnr must be a number from 0 on, is nan"),
        (["--without", "direkt"], "did you mean 'direct'?"),
        (["--without", "direct@Conv#1"], "there is no operator 'Conv#1'; did you mean 'Conv#"),
        (
            ["--min-sqnr", "110", "--pipeline", "fuse,select,layout,memory"],
            "a limit (min_sqnr) does not go together with a pipeline",
        ),
        (
            ["--memory", "1MiB", "--pipeline", "fuse,select,layout,memory"],
            "a limit (memory) does not go together with a pipeline",
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


# Accuracy ------------------------------------------------------------------------------------------

DIGITS = Path(__file__).parents[3] / "examples" / "digits" / "resnet20.onnx"
QUIET = ("direct", "im2row", "kn2row", "naive", "winograd2")  # for a 3x3 layer, without noise


def operators(cli: Cli, *words: object) -> list[dict[str, Any]]:
    result = cli("inspect", DIGITS, "--target", "rpi4", "--json", *words)
    assert result.code == 0, result.err
    return list(result.json["operators"])


def noise(rows: list[dict[str, Any]]) -> float:
    return math.fsum(row.get("noise", 0.0) for row in rows)


def test_the_noise_of_a_float_network_is_within_its_limit(cli: Cli) -> None:
    free = noise(operators(cli))
    assert free > 0
    for share in (0.5, 0.1):
        limit = -10 * math.log10(share * free)
        assert 0 < noise(operators(cli, "--min-sqnr", limit)) <= share * free * 1.001
    rows = operators(cli, "--min-sqnr", 300)
    assert noise(rows) == 0
    assert any("faster, but adds more noise" in (row.get("next") or "") for row in rows)


def test_what_is_forbidden_is_neither_chosen_nor_the_next_best(cli: Cli) -> None:
    tiles = [name for name in (row["primitive"] for row in operators(cli)) if name.startswith("winograd")]
    rows = operators(cli, "--without", ",".join(set(tiles)))
    others = [row["runner_up"]["primitive"] for row in rows if row.get("runner_up")]
    assert not set(tiles) & {*others, *(row["primitive"] for row in rows)}


def test_a_primitive_is_forbidden_where_inspect_says_that_it_is(cli: Cli) -> None:
    table = cli("inspect", DIGITS, "--target", "rpi4").out.splitlines()
    row = next(line for line in table if re.search(r"\bwinograd\d\b", line) and "dB" in line)
    _, node, *_ = re.split(r"  +", row)
    tile = re.search(r"winograd\d", row)
    assert tile is not None
    forbidden = f"{tile[0]}@{node}"
    before, after = operators(cli), operators(cli, "--without", forbidden)
    changed = [a for a, b in zip(after, before, strict=True) if a["primitive"] != b["primitive"]]
    assert node.partition(" ")[0] in {row["node"].partition("+")[0] for row in changed}
    assert all(row["node"].partition("+")[0] != node or row["primitive"] != tile[0] for row in after)


def test_an_sqnr_that_cannot_be_kept_names_one_that_can(cli: Cli, tmp_path: Path) -> None:
    rows = operators(cli)
    node = next(row["node"] for row in rows if row["primitive"].startswith("winograd"))
    words = ["--target", "rpi4", "--without", ",".join(f"{name}@{node}" for name in QUIET)]
    refused = cli("compile", DIGITS, "-o", tmp_path / "out.so", *words, "--min-sqnr", 300)
    assert refused.code == 2
    found = re.search(
        r"nothing fits in a noise of 1e-30 \(300 dB\); .* \(([\d.]+) dB\)$", refused.err.strip()
    )
    assert found is not None, refused.err
    assert not list(tmp_path.iterdir())
    assert noise(operators(cli, *words, "--min-sqnr", found[1])) > 0


def test_a_layer_of_which_all_primitives_are_forbidden_is_named(cli: Cli) -> None:
    rows = operators(cli)
    node = next(row["node"] for row in rows if row["primitive"].startswith("winograd"))
    every = [*QUIET, "winograd4", "winograd4x2", "winograd5", "winograd6", "winograd7"]
    result = cli("inspect", DIGITS, "--target", "rpi4", "--without", ",".join(f"{n}@{node}" for n in every))
    assert (result.code, result.out) == (2, "")
    assert f"ONNX node {node}): without direct, " in result.err
    assert "no primitive is left" in result.err


def test_every_plan_of_a_frontier_keeps_its_limits(cli: Cli) -> None:
    free = noise(operators(cli))
    limit = round(-10 * math.log10(0.3 * free), 2)
    words = ["--min-sqnr", limit, "--without", "winograd6"]
    points = cli("select", DIGITS, "--target", "rpi4", *words, "--json").json["points"]
    assert len(points) > 1
    for point in (points[0], points[-1]):
        assert f"sqnr={limit},without=winograd6}}" in point["pipeline"]
        rows = operators(cli, "--pipeline", point["pipeline"])
        assert noise(rows) <= 10 ** (-limit / 10) * 1.0001
        assert "winograd6" not in {row["primitive"] for row in rows}
        assert sum(row["seconds"] for row in rows) == pytest.approx(point["seconds"])


def test_an_artifact_takes_no_limit(cli: Cli, artifact: Path) -> None:
    for words in (["--min-sqnr", 110], ["--without", "direct"], ["--memory", "1MiB"]):
        result = cli("inspect", artifact, *words)
        assert (result.code, result.out) == (2, "")
        assert "limits are for a model" in result.err


def test_selecting_refuses_what_it_does_not_know(cli: Cli, model: Path) -> None:
    result = cli("select", model, "--without", "winograd7")
    assert (result.code, result.out) == (2, "")
    assert "did you mean 'winograd" in result.err
