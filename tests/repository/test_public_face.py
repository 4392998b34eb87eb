"""What `import secateur` offers, and that it costs little to ask."""

import importlib.metadata
import subprocess
import sys
from dataclasses import fields
from typing import Any

import pytest

import secateur
from secateur.ir.support.options import options_of
from secateur.tools.cli.groups import command_options

HEAVY = ("tvm", "onnx", "llvmlite", "onnxruntime", "networkx", "ziglang", "torch")
REPORT = f"import sys; print(*sorted(set(sys.modules) & set({HEAVY!r})))"


def heavy_modules(code: str) -> list[str]:
    """Which of the heavy libraries a fresh interpreter has loaded after `code`."""
    run = subprocess.run(
        [sys.executable, "-c", f"{code}\n{REPORT}"], capture_output=True, text=True, check=True
    )
    return run.stdout.splitlines()[-1].split()


def test_public_names() -> None:
    assert secateur.__all__ == [
        "Artifact",
        "Ends",
        "Fp16",
        "Inputs",
        "Int8",
        "Limits",
        "ModelError",
        "Preparation",
        "Pruning",
        "PruningReport",
        "QuantizationReport",
        "SecateurError",
        "Session",
        "VerifyError",
        "Watch",
        "__version__",
        "compile",
        "load",
        "prune",
        "quantize",
        "read",
    ]


def test_public_names_exist_and_are_documented() -> None:
    undocumented = [name for name in secateur.__all__ if not getattr(secateur, name).__doc__]
    assert undocumented == []


@pytest.mark.parametrize("value", [secateur.Limits, secateur.Int8, secateur.Pruning])
def test_every_option_stands_in_the_docstring(value: type) -> None:
    described = {line.strip().partition(":")[0] for line in (value.__doc__ or "").splitlines()}
    assert {name for name, option in options_of(value).items() if option.help} <= described


@pytest.mark.parametrize("value", [secateur.Limits, secateur.Int8, secateur.Pruning])
def test_an_option_has_one_name_in_python_and_on_the_command_line(value: type) -> None:
    words = {parameter.name for parameter in command_options(value)}
    assert words == {name for name, option in options_of(value).items() if option.help}
    assert words >= {field.name for field in fields(value)} - {"preparation"}


@pytest.mark.parametrize(
    ("keyword", "home"),
    [("memory", "Limits"), ("calibration", "Int8"), ("min_sqnr", "Limits"), ("batch", "Inputs")],
)
def test_a_keyword_that_moved_names_its_home(keyword: str, home: str) -> None:
    words: dict[str, Any] = {keyword: 1}
    with pytest.raises(TypeError, match=rf"argument '{keyword}'; it is a field of secateur.{home}$"):
        secateur.compile("model.onnx", **words)


def test_a_keyword_that_never_was_is_an_error_as_ever() -> None:
    words: dict[str, Any] = {"memmory": 1}
    with pytest.raises(TypeError, match=r"argument 'memmory'$"):
        secateur.compile("model.onnx", **words)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'secateur' has no attribute 'shrink'"):
        _ = secateur.shrink


def test_version_is_the_installed_one() -> None:
    assert secateur.__version__ == importlib.metadata.version("secateur")


def test_the_package_runs_as_its_console_script() -> None:
    run = subprocess.run([sys.executable, "-m", "secateur", "-V"], capture_output=True, text=True, check=True)
    assert run.stdout == f"secateur {secateur.__version__}\n"


def test_import_loads_no_heavy_library() -> None:
    assert heavy_modules("import secateur") == []


def test_help_loads_no_heavy_library() -> None:
    code = """
import sys
from secateur.tools.cli.main import main
sys.argv = ["secateur", "--help"]
try:
    main()
except SystemExit as end:
    assert not end.code
"""
    assert heavy_modules(code) == []


def test_heavy_library_would_be_noticed() -> None:
    assert "onnx" in heavy_modules("import onnx")
