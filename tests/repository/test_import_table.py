"""Who may import whom, checked in every source file, inside functions too."""

from pathlib import Path

import pytest

from .import_graph import EVERYTHING, FOLDERS, Source, source_of, sources

ALLOWED = {
    "ir": frozenset[str](),
    "passes": frozenset({"ir"}),
    "codegen": frozenset({"ir"}),
    "costs": frozenset({"ir", "passes", "codegen", "runtime"}),
    "runtime": frozenset[str](),
    "train": frozenset({"ir", "passes"}),
    "tools": EVERYTHING,
    "secateur": EVERYTHING - {"tools", "train"},
}


BELOW_ALL = "secateur.errors"  # the base of all errors, which every folder may import and which imports none


def violations(file: Source) -> list[str]:
    """One line for each import that the table forbids, or that uses a folder's bare name."""
    folder = file.package.split(".")[1] if "." in file.package else "secateur"
    allowed = ALLOWED[folder] | {folder}
    wrong = [
        f"line {i.line}: {folder} imports {i.module}"
        for i in file.imports
        if i.folder is not None and i.folder not in allowed and i.module != BELOW_ALL
    ]
    bare = [
        f"line {i.line}: bare name {i.module}"
        for i in file.imports
        if i.module.split(".")[0] in FOLDERS | {"tests"}
    ]
    return wrong + bare


@pytest.mark.parametrize("folder", sorted(EVERYTHING))
def test_folder_obeys_the_table(folder: str) -> None:
    files = {path: file for path, file in sources().items() if path.parts[0] == folder}
    assert files
    wrong = {str(path): violations(file) for path, file in files.items()}
    assert {path: lines for path, lines in wrong.items() if lines} == {}


def test_the_base_of_all_errors_imports_nothing_of_ours() -> None:
    assert [i.module for i in sources()[Path("secateur/errors.py")].imports if i.folder is not None] == []


@pytest.mark.parametrize(
    ("package", "source", "message"),
    [
        ("secateur.ir", "from secateur.passes import fuse", "line 1: ir imports secateur.passes"),
        (
            "secateur.ir",
            "import secateur.codegen.targets.rows",
            "line 1: ir imports secateur.codegen.targets.rows",
        ),
        ("secateur.ir", "from secateur import tools", "line 1: ir imports secateur.tools"),
        ("secateur.ir", "import secateur", "line 1: ir imports secateur"),
        ("secateur.ir", "from .. import compile", "line 1: ir imports secateur.compile"),
        ("secateur.ir.ops", "from ...passes import fuse", "line 1: ir imports secateur.passes"),
        (
            "secateur.passes",
            "def f():\n    from ..codegen import a",
            "line 2: passes imports secateur.codegen",
        ),
        (
            "secateur.codegen.primitives",
            "from ...runtime.session import load",
            "line 1: codegen imports secateur.runtime.session",
        ),
        ("secateur.runtime", "from .. import ir", "line 1: runtime imports secateur.ir"),
        (
            "secateur.runtime",
            "import importlib\nimportlib.import_module('secateur.ir.graph')",
            "line 2: runtime imports secateur.ir.graph",
        ),
        (
            "secateur.runtime",
            "from importlib import import_module\nimport_module('..ir', __name__)",
            "line 2: runtime imports secateur.ir",
        ),
        (
            "secateur.codegen",
            "if TYPE_CHECKING:\n    from secateur.tools.cli.main import app",
            "line 2: codegen imports secateur.tools.cli.main",
        ),
        ("secateur.tools", "import ir.graph", "line 1: bare name ir.graph"),
    ],
)
def test_checker_catches(package: str, source: str, message: str) -> None:
    assert message in violations(source_of(source, f"{package}.file"))


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("secateur.ir", "from . import types\nfrom .graph import Graph\nimport numpy"),
        ("secateur.ir.ops", "from ..opdef import Op\nfrom . import rules\nfrom ...ir import graph"),
        ("secateur.passes", "from ..ir.graph import Graph"),
        ("secateur", "from .ir import errors\nfrom . import compiler"),
        ("secateur.runtime", "from ..errors import SecateurError\nfrom secateur.errors import SecateurError"),
        ("secateur.tools", "import secateur\nfrom ..runtime import load"),
    ],
)
def test_checker_allows(package: str, source: str) -> None:
    assert violations(source_of(source, f"{package}.file")) == []
