"""`docs/adding.md` is tried: its steps alone add toys to a copy of the house."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from .import_graph import ROOT
from .toys import BOARD, OPERATOR, PASS, PRIMITIVE, SECTIONS, Edit, copied_house

PAGE = (ROOT / "docs" / "adding.md").read_text()
MOST_LINES = 10
SHAPE = (2, 3, 5)

# What the page says


def section(title: str) -> str:
    """The steps below a title of the page."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def steps(title: str) -> list[str]:
    return [line for line in section(title).splitlines() if line.strip()]


def named_files(text: str) -> set[str]:
    """Paths of files, and patterns of such as `passes/<room>/<name>.py`."""
    return set(re.findall(r"[\w<>./*-]+\.(?:py|md|toml|rules|refusals|h|c)\b", text.replace("../", "")))


def is_named(path: str, names: Iterable[str]) -> bool:
    patterns = (re.sub(r"<\w+>", "[^/]+", re.escape(name)) for name in names)
    return any(re.fullmatch(pattern, path) for pattern in patterns)


TITLES = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)


def test_the_page_has_what_one_adds() -> None:
    assert TITLES == ["An operator", "A pass", "A primitive", "An instruction set", "A GPU", "A board"]


@pytest.mark.parametrize("title", TITLES)
def test_a_recipe_is_short_and_its_files_exist(title: str) -> None:
    assert 3 <= len(steps(title)) <= MOST_LINES
    named = {name for name in named_files(section(title)) if "<" not in name and "/" in name}
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("title", SECTIONS)
def test_a_toy_touches_the_files_of_its_recipe_alone(title: str) -> None:
    names = named_files(section(title))
    assert [edit.path for edit in SECTIONS[title] if not is_named(edit.path, names)] == []


def test_a_file_that_is_not_named_is_noticed() -> None:
    names = {"passes/<room>/<name>.py", "passes/registry.py"}
    assert is_named("passes/fuse/mirrors.py", names)
    assert is_named("passes/registry.py", names)
    assert not is_named("passes/pipeline.py", names)
    assert not is_named("codegen/fuse/mirrors.py", names)


# What comes of following it


def model(path: Path) -> Path:
    """A network of the toy operator: three mirrors, of which two are one too many."""
    names = ["x", "a", "b", "y"]
    nodes = [helper.make_node("Mirror", [a], [b]) for a, b in pairwise(names)]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in ("x", "y")]
    onnx.save(helper.make_model(helper.make_graph(nodes, "toy", values[:1], values[1:])), path)
    return path


def run(house: Path, code: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Python with `secateur` being the house with the toys in it."""
    environment = {**os.environ, "PYTHONPATH": str(house.parent), "COLUMNS": "200"}
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, cwd=house.parent, env=environment, capture_output=True, text=True)


def secateur(house: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return run(house, "from secateur.tools.cli.main import main; main()", *words)


def answer(house: Path, *words: object) -> Any:
    done = secateur(house, *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def built(folder: Path, *added: Iterable[Edit]) -> Path:
    house = copied_house(folder)
    for edit in (edit for edits in added for edit in edits):
        edit.apply(house)
    model(folder / "toy.onnx")
    return house


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("house"), OPERATOR, PASS, PRIMITIVE, BOARD)


def test_the_operator_is_read_and_written(house: Path) -> None:
    done = run(house, "import sys; from secateur.ir.onnx_reader import read_model\n"
                      "from secateur.ir.onnx_writer import to_onnx\n"
                      "print(to_onnx(read_model('toy.onnx')).graph.node)")  # fmt: skip
    assert done.stdout.count("Mirror") >= 3, done.stderr
    text = secateur(house, "inspect", "toy.onnx", "--ir", "read")
    assert text.stdout.count("nn.mirror(") == 3, text.stderr


def test_the_pass_takes_its_place_in_a_pipeline(house: Path) -> None:
    done = secateur(
        house, "opt", "toy.onnx", "--pipeline", "mirrors,canonicalize", "--explain", "mirror-mirror"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("nn.mirror(") == 1


@pytest.mark.parametrize("target", ["host", "toy-board"])
def test_the_primitive_computes_it_on_host_and_board(house: Path, target: str) -> None:
    if target == "toy-board" and platform.machine() != "x86_64":
        pytest.skip("the toy board is an x86-64 processor")
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    np.save(house.parent / "x.npy", x)
    words = ["compile", "toy.onnx", "-o", f"{target}.so", "--target", target, "--verify=artifact"]
    assert answer(house, *words)["verified"]
    answer(house, "run", f"{target}.so", "--input", "x=x.npy", "--output-dir", target)
    np.testing.assert_array_equal(np.load(house.parent / target / "y.npy"), x[..., ::-1])


def test_the_board_is_listed(house: Path) -> None:
    assert "toy-board" in {row["name"] for row in answer(house, "targets")}
    assert "did you mean 'toy-board'" in secateur(
        house, "compile", "toy.onnx", "-o", "y.so", "--target", "toybord"
    ).stderr.replace("\n", " ")


def test_without_its_primitive_an_operator_is_refused(tmp_path: Path) -> None:
    """What the other tests see comes of the steps: without these it is not there."""
    house = built(tmp_path, OPERATOR)
    done = secateur(house, "compile", "toy.onnx", "-o", "toy.so")
    assert done.returncode == 2
    assert "nn.mirror" in done.stderr
    assert not (tmp_path / "toy.so").exists()


def test_without_its_steps_the_operator_is_unknown(tmp_path: Path) -> None:
    done = secateur(built(tmp_path), "inspect", "toy.onnx", "--ir", "read")
    assert done.returncode == 2
    assert "Mirror" in done.stderr
