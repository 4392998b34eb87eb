"""`secateur run` and `secateur bench`: inputs, outputs, refusals."""

from pathlib import Path

import numpy as np
import pytest

from secateur import load
from secateur.ir.errors import SecateurError
from secateur.ir.noise import random_array
from secateur.tools.cli.commands.bench import statistics
from secateur.tools.cli.commands.run import write_outputs

from ...conftest import Cli


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "x.npy"
    np.save(path, np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float32))
    return path


def test_run_writes_what_a_session_computes(cli: Cli, artifact: Path, image: Path, tmp_path: Path) -> None:
    result = cli("run", artifact, "--input", f"x={image}", "--output-dir", tmp_path / "out", "--json")
    (row,) = result.json["outputs"]
    with load(artifact) as session:
        expected = session.run({"x": np.load(image)})["y"]
    np.testing.assert_array_equal(np.load(row["file"]), expected)
    assert row["file"] == str(tmp_path / "out" / "y.npy")
    assert row["max"] == float(expected.max())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["y.npy"]


def test_the_only_inputs_name_may_be_left_out(cli: Cli, artifact: Path, image: Path) -> None:
    named, bare = cli("run", artifact, "--input", f"x={image}"), cli("run", artifact, "--input", image)
    assert named.code == bare.code == 0
    assert named.out == bare.out


def test_random_input_depends_on_its_seed_alone(cli: Cli, artifact: Path) -> None:
    first, same, other = (cli("run", artifact, "--input", f"random:{seed}").out for seed in (5, 5, 6))
    assert first == same != other


def test_threads_do_not_change_the_answer(cli: Cli, artifact: Path) -> None:
    one, two = (cli("run", artifact, "--input", "random:1", "--threads", n).out for n in (1, 2))
    assert one == two


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no array for input 'x' float32[1, 3, 8, 8]; give --input x=FILE.npy or x=random:0"),
        (["--input", "xx=random:0"], "no input 'xx'; did you mean 'x'?"),
        (["--input", "x=random:0", "--input", "x=random:1"], "given twice"),
        (["--input", "x=random:many"], "expected random: and a number"),
        (["--input", "x=/nowhere.npy"], "/nowhere.npy: No such file"),
    ],
)
def test_run_refuses(cli: Cli, artifact: Path, words: list[str], message: str) -> None:
    result = cli("run", artifact, *words)
    assert (result.code, result.out) == (2, "")
    assert message in result.err


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY garbage", b"text"])
def test_run_refuses_a_file_that_holds_no_array(
    cli: Cli, artifact: Path, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    result = cli("run", artifact, "--input", tmp_path / "x.npy")
    assert result.code == 2
    assert "is not a .npy file of numbers" in result.err


def test_run_never_unpickles(cli: Cli, artifact: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    result = cli("run", artifact, "--input", tmp_path / "x.npy")
    assert result.code == 2
    assert "is not a .npy file of numbers" in result.err


def test_run_refuses_a_damaged_artifact(cli: Cli, artifact: Path, tmp_path: Path) -> None:
    data = bytearray(artifact.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "bad.so").write_bytes(data)
    result = cli("run", tmp_path / "bad.so", "--input", "random:0")
    assert result.code == 2
    assert "damaged" in result.err


def test_output_names_become_safe_file_names(tmp_path: Path) -> None:
    files = write_outputs({"/head/out:0": np.zeros(1), "..": np.zeros(2)}, tmp_path)
    assert sorted(Path(file).name for file in files.values()) == ["_head_out_0.npy", "output.npy"]
    assert all(Path(file).parent == tmp_path for file in files.values())


def test_outputs_of_one_file_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SecateurError, match="same file"):
        write_outputs({"a/b": np.zeros(1), "a:b": np.zeros(1)}, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint8", "int64", "bool"])
def test_random_arrays_have_the_type_asked_for(dtype: str) -> None:
    array = random_array((3, 4), np.dtype(dtype), 0)
    assert (array.dtype, array.shape) == (np.dtype(dtype), (3, 4))
    assert len(np.unique(array)) > 1


def test_bench_reports_ranks_and_operators(cli: Cli, artifact: Path) -> None:
    words = ("--iterations", 7, "--warmup", 1, "--profile", "--json")
    result = cli("bench", artifact, *words).json
    seconds = result["seconds"]
    assert seconds["min"] <= seconds["median"] <= seconds["p90"] <= seconds["p99"] <= seconds["max"]
    assert result["macs"] == sum(row["macs"] for row in result["operators"]) > 0
    assert any("Conv" in row["label"] or row["operator"] == "prim.conv" for row in result["operators"])


def test_bench_for_people(cli: Cli, artifact: Path) -> None:
    out = cli("bench", artifact, "--iterations", 3, "--profile").out
    assert "median" in out
    assert "prim.conv" in out


def test_statistics_are_nearest_ranks() -> None:
    found = statistics([float(i) for i in range(100, 0, -1)])
    assert found == {"min": 1.0, "median": 50.0, "p90": 90.0, "p99": 99.0, "max": 100.0}
    assert set(statistics([3.0]).values()) == {3.0}
