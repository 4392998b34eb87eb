"""Who imports whom, read from every source file once: at its top, inside functions, for types alone."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import networkx as nx

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = frozenset({"ir", "passes", "codegen", "costs", "runtime", "tools", "train"})
EVERYTHING = FOLDERS | {"secateur"}


@dataclass(frozen=True)
class Import:
    """One imported module, by its absolute dotted name, and the line that asks for it.

    `name` is what is taken out of the module (`from module import name`): a module itself, or a thing inside.
    `late` says that a function asks for it when it runs.
    """

    line: int
    module: str
    name: str | None = None
    late: bool = False

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
    """The literal name given to `import_module` or `__import__`; `package.*` where its end is computed."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    asked = call.args[0] if name in ("import_module", "__import__") and call.args else None
    start = asked.values[0] if isinstance(asked, ast.JoinedStr) else None
    if isinstance(asked, ast.Constant):
        yield str(asked.value)
    elif isinstance(start, ast.Constant) and str(start.value).strip("."):
        yield str(start.value) + "*"


def modules_of(node: ast.AST, package: str) -> Iterator[tuple[str, str | None]]:
    """Module and name inside it, for all that one statement or call imports."""
    if isinstance(node, ast.Import):
        yield from ((alias.name, None) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = absolute(package, node.level, node.module)
        for alias in node.names:
            # `from secateur import ir` names a folder; `from secateur.ir import Graph` a thing inside one.
            yield (f"{base}.{alias.name}", None) if base == "secateur" else (base, alias.name)
    elif isinstance(node, ast.Call):
        for name in called_imports(node):
            dots = len(name) - len(name.lstrip("."))
            yield absolute(package, dots, name[dots:]), None


_LATE = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_CALLS = ("import_module", "__import__")


def walked(node: ast.AST, in_calls: bool, late: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """All in a tree, and whether it runs when a function is called, not when its file is imported.

    Statements alone unless `in_calls`: there are many times as many expressions.
    """
    yield node, late
    for child in ast.iter_child_nodes(node):
        if in_calls or not isinstance(child, ast.expr):
            yield from walked(child, in_calls, late or isinstance(node, _LATE))


def imports(source: str, package: str) -> list[Import]:
    """Every import in `source`, a module of `package`, wherever it stands."""
    return [
        Import(getattr(node, "lineno", 0), module, name, late)
        for node, late in walked(ast.parse(source), any(name in source for name in _CALLS))
        for module, name in modules_of(node, package)
    ]


@dataclass(frozen=True)
class Source:
    """One file: its module's absolute dotted name, the package that it belongs to, its imports."""

    module: str
    package: str
    imports: tuple[Import, ...]


def source_of(text: str, module: str, is_package: bool = False) -> Source:
    """`text` as the file of `module`; `is_package` where it is an `__init__.py`."""
    package = module if is_package else module.rpartition(".")[0]
    return Source(module, package, tuple(imports(text, package)))


def module_of(path: Path) -> str:
    """The absolute dotted name of the module in `path`, which is relative to the repository."""
    parts = path.with_suffix("").parts
    named = parts if parts[0] == "secateur" else ("secateur", *parts)
    return ".".join(named[:-1] if named[-1] == "__init__" else named)


@cache
def sources() -> Mapping[Path, Source]:
    """Every source file of the packages, by its path in the repository."""
    paths = sorted(path for folder in EVERYTHING for path in (ROOT / folder).rglob("*.py"))
    return {
        path.relative_to(ROOT): source_of(
            path.read_text(), module_of(path.relative_to(ROOT)), path.name == "__init__.py"
        )
        for path in paths
    }


def meant(asked: Import, known: frozenset[str]) -> set[str]:
    """Files of ours that an import may ask for: the name where it is one, else the module, else none."""
    if asked.module.endswith("*"):
        return {name for name in known if name.startswith(asked.module[:-1])}
    inner = f"{asked.module}.{asked.name}"
    outer = asked.module.rpartition(".")[0]  # a thing of the public face: `secateur.compile`
    return set([name for name in (inner, asked.module, outer) if name in known][:1])


def import_graph(files: Iterable[Source]) -> nx.DiGraph:
    """An arrow from each file to each file that it imports, now or later, or for its types alone."""
    files = list(files)
    known = frozenset(file.module for file in files)
    graph = nx.DiGraph()
    graph.add_nodes_from(known)
    arrows = ((file.module, found) for file in files for one in file.imports for found in meant(one, known))
    graph.add_edges_from((a, b) for a, b in arrows if a != b)
    return graph


def circles(graph: nx.DiGraph) -> list[list[str]]:
    """Files that import one another, straight or by way of others: each group once, in order of name."""
    groups = (sorted(group) for group in nx.strongly_connected_components(graph))
    return sorted(group for group in groups if len(group) > 1)
