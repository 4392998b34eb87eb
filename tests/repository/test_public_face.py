"""What `import secateur` offers, and that it costs little to ask."""

import importlib.metadata
import subprocess
import sys

import pytest

import secateur

HEAVY = ("tvm", "onnx", "llvmlite", "onnxruntime", "networkx", "ziglang")
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
        "ModelError",
        "QuantizationReport",
        "SecateurError",
        "Session",
        "VerifyError",
        "compile",
        "load",
        "quantize",
    ]


def test_public_names_exist_and_are_documented() -> None:
    undocumented = [name for name in secateur.__all__ if not getattr(secateur, name).__doc__]
    assert undocumented == []


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'secateur' has no attribute 'prune'"):
        _ = secateur.prune


def test_version_is_the_installed_one() -> None:
    assert secateur.__version__ == importlib.metadata.version("secateur")


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
