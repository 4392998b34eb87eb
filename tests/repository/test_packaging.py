"""The wheel: what pyproject.toml lists, what the file holds, and that it works on its own."""

import fnmatch
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.libc import share_builds

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("secateur", "ir", "passes", "codegen", "costs", "runtime", "tools", "train")
PIP = (sys.executable, "-m", "pip")
OFFLINE = ("--quiet", "--no-index", "--no-deps")
INSIDE = ("*.py", "*.c", "*.h", "*.j2", "*.csv", "py.typed")

USE_IT = """
import sys
from secateur.ir.support.unasked import do_without
do_without("torch")  # which takes long
import numpy as np, onnx
from onnx import TensorProto, helper, numpy_helper
import secateur
assert secateur.__file__.startswith(sys.prefix), secateur.__file__
weight = np.arange(-18, 18, dtype=np.float32).reshape(4, 1, 3, 3)
graph = helper.make_graph(
    [helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]), helper.make_node("Relu", ["c"], ["y"])],
    "tiny",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 6, 6])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 6, 6])],
    [numpy_helper.from_array(weight, "w")],
)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "tiny.onnx")
artifact = secateur.compile("tiny.onnx", "tiny.so")
x = np.random.default_rng(0).standard_normal((1, 1, 6, 6)).astype(np.float32)
y = secateur.load(artifact.path).run({"x": x})["y"]
around = np.pad(x[0, 0], 1)
windows = np.lib.stride_tricks.sliding_window_view(around, (3, 3))
expected = np.maximum(np.einsum("ijhw,ohw->oij", windows, weight[:, 0]), 0)
np.testing.assert_allclose(y[0], expected, rtol=1e-4, atol=1e-4)
print("worked")
"""


def listed_packages() -> set[str]:
    return set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])


def packages_on_disk() -> set[str]:
    found = (
        path.parent.relative_to(ROOT).parts for name in FOLDERS for path in (ROOT / name).rglob("__init__.py")
    )
    return {".".join(parts if parts[0] == "secateur" else ("secateur", *parts)) for parts in found}


def sources(root: Path) -> set[str]:
    """Every file under `root` that belongs in the wheel, by its path there."""
    files = (path for name in FOLDERS for path in (root / name).rglob("*") if path.is_file())
    wanted = [path.relative_to(root) for path in files if any(fnmatch.fnmatch(path.name, p) for p in INSIDE)]
    return {
        path.as_posix() if path.parts[0] == "secateur" else f"secateur/{path.as_posix()}" for path in wanted
    }


def run(*command: str | Path, cwd: Path) -> str:
    """Standard output of a command that must succeed; its errors are shown if it does not."""
    environment = {
        **os.environ,
        "SECATEUR_CACHE": str(share_builds(cwd / "cache")),
        "PYTHONPATH": "",
        "COLUMNS": "120",
    }
    done = subprocess.run([str(c) for c in command], cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the working tree, built from a copy so that nothing stale in build/ gets in."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "copy"
    for name in FOLDERS:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    run(*PIP, "wheel", *OFFLINE, "--no-build-isolation", "--wheel-dir", folder, copy, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def clean_venv(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel in it, which sees this one's libraries but not its editable install."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = folder / "bin" / "python"
    run(*PIP, "--python", python, "install", *OFFLINE, "--ignore-installed", wheel, cwd=folder.parent)
    return folder


def test_every_package_is_listed() -> None:
    assert packages_on_disk() == listed_packages()


def test_every_folder_with_sources_is_a_package() -> None:
    loose = {path.parent for name in FOLDERS for path in (ROOT / name).rglob("*.py")}
    assert [str(folder) for folder in loose if not (folder / "__init__.py").exists()] == []


@pytest.mark.slow
def test_wheel_holds_every_source(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert sources(wheel.parent / "copy") - names == set()
    assert "secateur/py.typed" in names
    assert {name for name in names if fnmatch.fnmatch(name, "secateur/runtime/*.c")}


@pytest.mark.slow
def test_wheel_installs_one_name(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"secateur", "secateur-0.1.0.dist-info"}


@pytest.mark.slow
def test_wheel_compiles_and_runs_a_model(clean_venv: Path, tmp_path: Path) -> None:
    (tmp_path / "use_it.py").write_text(USE_IT)
    assert run(clean_venv / "bin" / "python", "use_it.py", cwd=tmp_path).splitlines()[-1] == "worked"


@pytest.mark.slow
def test_wheel_installs_the_command(clean_venv: Path, tmp_path: Path) -> None:
    assert "compile" in run(clean_venv / "bin" / "secateur", "--help", cwd=tmp_path)
