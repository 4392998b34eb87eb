"""Who may import whom, checked in every source file, inside functions too."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = frozenset({"ir", "passes", "codegen", "costs", "runtime", "tools"})
EVERYTHING = FOLDERS | {"secateur"}
ALLOWED = {
    "ir": frozenset[str](),
    "passes": frozenset({"ir"}),
    "codegen": frozenset({"ir"}),
    "costs": frozenset({"ir", "passes", "codegen", "runtime"}),
    "runtime": frozenset[str](),
    "tools": EVERYTHING,
    "secateur": EVERYTHING - {"tools"},
}


@dataclass(frozen=True)
class Import:
    """One imported module, by its absolute dotted name, and the line that asks for it."""

    line: int
    module: str

    @property
    def folder(self) -> str | None:
        """Our folder that is meant (`secateur`: the public face), or None for other people's code."""
        parts = self.module.split(".")
        if parts[0] != "secateur":
            return None
        return parts[1] if len(parts) > 1 and parts[1] in FOLDERS else "secateur"


def absolute(package: str, level: int, module: str | None) -> str:
    """`from ..x import y` inside `package`, as an absolute name; a level of 0 is absolute already."""
    if level == 0:
        return module or ""
    base = package.split(".")[: len(package.split(".")) - level + 1]
    return ".".join([*base, module] if module else base)


def called_imports(call: ast.Call) -> Iterator[str]:
    """The literal name given to `import_module` or `__import__`."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name in ("import_module", "__import__") and call.args and isinstance(call.args[0], ast.Constant):
        yield str(call.args[0].value)


def modules_of(node: ast.AST, package: str) -> Iterator[str]:
    """Absolute names of what one statement or call imports."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = absolute(package, node.level, node.module)
        # `from secateur import ir` names a folder; `from secateur.ir import Graph` a thing inside one.
        yield from (f"{base}.{alias.name}" if base == "secateur" else base for alias in node.names)
    elif isinstance(node, ast.Call):
        for name in called_imports(node):
            dots = len(name) - len(name.lstrip("."))
            yield absolute(package, dots, name[dots:])


def imports(source: str, package: str) -> list[Import]:
    """Every import in `source`, a module of `package`, wherever it stands."""
    found = ((node, module) for node in ast.walk(ast.parse(source)) for module in modules_of(node, package))
    return [Import(getattr(node, "lineno", 0), module) for node, module in found]


def violations(source: str, package: str) -> list[str]:
    """One line for each import that the table forbids, or that uses a folder's bare name."""
    folder = package.split(".")[1] if "." in package else "secateur"
    allowed = ALLOWED[folder] | {folder}
    wrong = [
        f"line {i.line}: {folder} imports {i.module}"
        for i in imports(source, package)
        if i.folder is not None and i.folder not in allowed
    ]
    bare = [
        f"line {i.line}: bare name {i.module}"
        for i in imports(source, package)
        if i.module.split(".")[0] in FOLDERS | {"tests"}
    ]
    return wrong + bare


def package_of(path: Path) -> str:
    """The package that the module in `path` belongs to."""
    folders = path.relative_to(ROOT).parent.parts
    return ".".join(folders if folders[0] == "secateur" else ("secateur", *folders))


SOURCES = sorted(path for folder in EVERYTHING for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("folder", sorted(EVERYTHING))
def test_folder_obeys_the_table(folder: str) -> None:
    paths = [path for path in SOURCES if path.relative_to(ROOT).parts[0] == folder]
    assert paths
    wrong = {str(path.relative_to(ROOT)): violations(path.read_text(), package_of(path)) for path in paths}
    assert {path: lines for path, lines in wrong.items() if lines} == {}


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
    assert message in violations(source, package)


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("secateur.ir", "from . import types\nfrom .graph import Graph\nimport numpy"),
        ("secateur.ir.ops", "from ..opdef import Op\nfrom . import rules\nfrom ...ir import graph"),
        ("secateur.passes", "from ..ir.graph import Graph"),
        ("secateur", "from .ir import errors\nfrom . import compiler"),
        ("secateur.tools", "import secateur\nfrom ..runtime import load"),
    ],
)
def test_checker_allows(package: str, source: str) -> None:
    assert violations(source, package) == []
