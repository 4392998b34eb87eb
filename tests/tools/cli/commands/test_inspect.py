"""`secateur inspect` and `secateur opt`: views of models, IR and artifacts."""

from pathlib import Path

import pytest

from secateur import compile
from secateur.ir.parser import parse_graph
from secateur.options import Kind

from ...conftest import Cli

SMALL = """graph @small(%x: tensor<1x2x3x3xf32>) {
  %0 = nn.relu(%x) : tensor<1x2x3x3xf32>
  %1 = nn.relu(%0) : tensor<1x2x3x3xf32>
  return %1 as "y"
}
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.sir"
    path.write_text(SMALL)
    return path


def test_inspect_shows_every_operator_with_its_decision(cli: Cli, model: Path) -> None:
    found = cli("inspect", model, "--json").json
    convolutions = [row for row in found["operators"] if row["operator"] == "prim.conv"]
    assert len(convolutions) == 2
    assert all(row["primitive"] and row["layouts"] for row in convolutions)
    assert convolutions[0]["macs"] == 4 * 3 * 9 * 64
    assert found["macs"] == sum(row["macs"] for row in found["operators"])


def test_inspect_maps_memory(cli: Cli, model: Path) -> None:
    memory = cli("inspect", model, "--json").json["memory"]
    assert memory["lower_bound_bytes"] <= memory["peak_bytes"]
    assert memory["peak_bytes"] == max(row["offset"] + row["size"] for row in memory["ranges"])


def test_inspect_names_the_runner_up_and_its_time(cli: Cli, model: Path) -> None:
    found = cli("inspect", model, "--target", "rpi4", "--json").json
    rows = found["operators"]
    assert found["seconds"] == pytest.approx(sum(row["seconds"] for row in rows))
    first = next(row for row in rows if row["operator"] == "prim.conv")
    other = first["runner_up"]
    assert other["primitive"] != first["primitive"]
    assert other["seconds"] + other["conversion_seconds"] >= first["seconds"] > 0
    assert first["next"].startswith(f"{other['primitive']} ")


def test_inspect_says_what_each_primitive_adds_to_the_artifact(cli: Cli, model: Path, artifact: Path) -> None:
    found = cli("inspect", model, "--json").json
    convolution = next(row for row in found["operators"] if row["operator"] == "prim.conv")
    assert convolution["weight_bytes"] >= convolution["constant_bytes"] > 0
    stored = cli("inspect", artifact, "--json").json["manifest"]["weights_bytes"]
    assert 0 <= found["weight_bytes"] - stored < 64  # the last array is not filled up
    assert " in the artifact" in cli("inspect", model).out


def test_inspect_says_where_memory_kept_a_faster_primitive_out(cli: Cli) -> None:
    digits = Path(__file__).parents[4] / "examples" / "digits" / "resnet20.onnx"
    words = (
        "--target",
        "rpi4",
        "--pipeline",
        "canonicalize,fuse,select{memory=128KiB},layout,memory",
        "--json",
    )
    rows = cli("inspect", digits, *words).json["operators"]
    kept_out = [row for row in rows if "faster, but takes more memory" in (row.get("next") or "")]
    assert {row["runner_up"]["workspace"] > row["workspace"] for row in kept_out} == {True}


def test_an_artifact_has_no_times(cli: Cli, artifact: Path) -> None:
    assert cli("inspect", artifact, "--json").json["seconds"] is None
    assert " next " not in cli("inspect", artifact).out


def test_inspect_for_people(cli: Cli, model: Path, artifact: Path) -> None:
    out = cli("inspect", model).out
    assert "lower bound" in out
    assert "prim.conv+add+relu" in out
    assert "next: the best other primitive" in out
    out = cli("inspect", artifact).out
    assert "x: 1x3x8x8 f32" in out
    assert "prim.conv" in out


@pytest.mark.parametrize(
    ("stage", "sign"), [("read", "nn.batch_norm"), ("fuse", "epilogue"), ("memory", "offset")]
)
def test_inspect_prints_the_ir_at_a_stage(cli: Cli, model: Path, stage: str, sign: str) -> None:
    out = cli("inspect", model, "--ir", stage).out
    assert out.startswith("graph @residual(")
    assert sign in out
    assert ("nn.batch_norm" in out) == (stage == "read")


@pytest.mark.parametrize("kind", ["so", "dir", "tar"])
def test_an_artifact_carries_its_final_ir(cli: Cli, model: Path, tmp_path: Path, kind: Kind) -> None:
    path = compile(model, tmp_path / f"out.{kind}", kind=kind).path
    assert "prim.conv" in cli("inspect", path, "--ir", "final").out
    shown = cli("inspect", path, "--json").json
    assert shown["manifest"]["name"] == "residual"
    assert 0 < shown["memory"]["peak_bytes"] <= shown["manifest"]["arena_bytes"]


def test_inspect_refuses(cli: Cli, model: Path, artifact: Path) -> None:
    for words, message in (
        ((model, "--ir", "fuze"), "no stage 'fuze'; did you mean 'fuse'?"),
        ((artifact, "--ir", "fuse"), "an artifact carries its final IR alone"),
        ((model, "--target", "toaster"), "unknown target 'toaster'"),
    ):
        result = cli("inspect", *words)
        assert (result.code, result.out) == (2, "")
        assert message in result.err


def test_opt_without_passes_prints_what_it_read(cli: Cli, small: Path) -> None:
    assert cli("opt", small).out == SMALL


def test_opt_runs_the_pipeline(cli: Cli, small: Path) -> None:
    result = cli("opt", small, "--pipeline", "canonicalize")
    assert len(parse_graph(result.out).operators) == 1


def test_opt_writes_text_and_constants(cli: Cli, model: Path, tmp_path: Path) -> None:
    fused, again = tmp_path / "fused.sir", tmp_path / "again.sir"
    assert cli("opt", model, "--pipeline", "canonicalize,fuse", "-o", fused).code == 0
    assert cli("opt", fused, "-o", again).code == 0
    for suffix in ("", ".safetensors"):
        assert Path(f"{fused}{suffix}").read_bytes() == Path(f"{again}{suffix}").read_bytes()


def test_opt_explains_where_a_rule_did_not_fire(cli: Cli, model: Path) -> None:
    result = cli("opt", model, "--pipeline", "canonicalize,fuse", "--explain", "fuse-residual")
    assert "fuse-residual: fired 1 times" in result.err
    assert "fuse-residual" not in result.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--explain", "fuse-residul"], "no rule 'fuse-residul'; did you mean 'fuse-residual'?"),
        (["--pipeline", "fuse{level=medium}"], "unknown level 'medium'"),
        (["--shape", "x=1x2x3x3"], "shapes of IR text are settled already"),
    ],
)
def test_opt_refuses(cli: Cli, small: Path, words: list[str], message: str) -> None:
    result = cli("opt", small, *words)
    assert (result.code, result.out) == (2, "")
    assert message in result.err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("nn.relu(%x)", "nn.rleu(%x)", "line 2, column 8: unknown operator 'nn.rleu'"),
        ("%1 = nn.relu(%0)", "%1 = nn.relu(%7)", "%7 is not defined above"),
        ('as "y"', "as y", "line 4"),
        (
            "%0 = nn.relu(%x) : tensor<1x2x3x3xf32>",
            "%0 = nn.relu(%x) : tensor<1x2x3x4xf32>",
            "the text says otherwise",
        ),
    ],
)
def test_opt_points_at_the_culprit(cli: Cli, small: Path, old: str, new: str, message: str) -> None:
    small.write_text(SMALL.replace(old, new))
    result = cli("opt", small)
    assert (result.code, result.out) == (2, "")
    assert message in result.err


def test_inspect_says_which_gpu_an_artifact_needs(cli: Cli, small: Path, tmp_path: Path) -> None:
    compile(small, tmp_path / "small.so", "jetson-nano")
    found = cli("inspect", tmp_path / "small.so").out
    assert "an NVIDIA GPU, sm_53 or later, and a driver that reads PTX 4.2" in found
    assert "arena of the GPU" in found
    assert "state beside it" in found
    assert "thread" not in found


@pytest.mark.parametrize(("target", "words"), [("jetson-nano", "the GPU"), ("rpi4", "one core")])
def test_inspect_says_what_its_times_are_of(cli: Cli, small: Path, target: str, words: str) -> None:
    found = cli("inspect", small, "--target", target).out
    assert f" on {words} by the cost model" in found
    assert f"time: of {words}, conversions" in found


def test_compile_says_what_a_gpu_keeps_in_its_memory(cli: Cli, small: Path, tmp_path: Path) -> None:
    found = cli("compile", small, "--target", "jetson-nano", "-o", tmp_path / "small.so").out
    assert "arena of the GPU" in found
