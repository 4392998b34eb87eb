"""The shape of the house: no circles, small rooms, no tool behind the public face, heavy libraries late."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import networkx as nx
import pytest

from .import_graph import Source, circles, import_graph, source_of, sources

MOST_FILES = 30  # modules side by side in one folder
# Imports inside functions of codegen/, which else has none: a library that takes seconds and that a cost, a
# cache key or a refusal does without. Who wants TVM goes by `codegen/tir.py`, which waits by itself.
LATE = {
    "secateur.codegen.targets.processor": {"llvmlite.binding"},
    "secateur.codegen.backends.cpu.primitives": {"secateur.codegen.primitives.*"},  # called at once
    "secateur.codegen.backends.backend": {
        "secateur.codegen.artifact",
        "secateur.codegen.lower",
        "secateur.codegen.storage",
    },
    "secateur.codegen.backends.cpu.backend": {
        "secateur.codegen.backends.cpu.costs",
        "secateur.codegen.backends.cpu.objects",
        "secateur.codegen.backends.cpu.primitives",
        "secateur.codegen.link",
    },
    "secateur.codegen.backends.cuda.backend": {
        "secateur.codegen.backends.cuda.ptx.assembler",
        "secateur.codegen.backends.cuda.costs",
        "secateur.codegen.backends.cuda.ptx.modules",
        "secateur.codegen.backends.cuda.parts",
        "secateur.codegen.backends.cuda.primitives",
    },
}


def crowded(paths: Iterable[Path]) -> dict[str, int]:
    """Folders that hold more modules than one looks through at once, without `__init__.py`."""
    held = Counter(str(path.parent) for path in paths if path.name != "__init__.py")
    return {folder: count for folder, count in held.items() if count > MOST_FILES}


def tools_behind(graph: nx.DiGraph, faces: Iterable[str]) -> set[str]:
    """Tools that `faces` import, straight or by way of others."""
    behind = set[str]().union(*(nx.descendants(graph, face) for face in faces))
    return {name for name in behind if name.startswith("secateur.tools")}


def late_imports(file: Source) -> set[str]:
    """Modules that functions of a file ask for."""
    return {asked.module for asked in file.imports if asked.late}


def files(texts: Mapping[str, str]) -> list[Source]:
    """Modules with their texts, as the graph takes them."""
    return [source_of(text, name) for name, text in texts.items()]


def house() -> nx.DiGraph:
    return import_graph(sources().values())


def test_no_two_files_import_each_other() -> None:
    assert circles(house()) == []


@pytest.mark.parametrize(
    "back",
    [
        "from . import a",
        "from .a import thing",
        "import secateur.ir.a",
        "from secateur.ir import a",
        "def f():\n    from .a import thing",
        "if TYPE_CHECKING:\n    from .a import Thing",
        "from importlib import import_module\nimport_module('.a', __name__)",
        "from importlib import import_module\nimport_module(f'secateur.ir.{name}')",
    ],
)
def test_a_circle_is_found(back: str) -> None:
    graph = import_graph(files({"secateur.ir.a": "from .b import other", "secateur.ir.b": back}))
    assert circles(graph) == [["secateur.ir.a", "secateur.ir.b"]]


def test_a_long_circle_is_found() -> None:
    texts = {f"secateur.ir.{x}": f"from .{y} import thing" for x, y in ("ab", "bc", "ca", "da")}
    assert circles(import_graph(files(texts))) == [["secateur.ir.a", "secateur.ir.b", "secateur.ir.c"]]


def test_a_circle_by_way_of_a_package_is_found() -> None:
    package = source_of("from .a import thing", "secateur.ir", is_package=True)
    graph = import_graph([package, source_of("from . import thing", "secateur.ir.a")])
    assert circles(graph) == [["secateur.ir", "secateur.ir.a"]]


def test_files_in_a_row_are_no_circle() -> None:
    texts = {
        "secateur.ir.a": "import numpy",
        "secateur.ir.b": "from .a import thing",
        "secateur.passes.b": "from ..ir.b import thing\nfrom ..ir import a",
    }
    graph = import_graph(files(texts))
    assert set(graph.edges) == {
        ("secateur.ir.b", "secateur.ir.a"),
        ("secateur.passes.b", "secateur.ir.b"),
        ("secateur.passes.b", "secateur.ir.a"),
    }
    assert circles(graph) == []


def test_every_file_is_in_the_graph() -> None:
    graph = house()
    assert len(graph) == len(sources()) > 100
    assert graph.number_of_edges() > len(graph)


def test_no_folder_is_crowded() -> None:
    assert crowded(sources()) == {}


def test_a_crowded_folder_is_found() -> None:
    room = [Path(f"ir/file{i}.py") for i in range(MOST_FILES)]
    assert crowded([*room, Path("ir/__init__.py"), Path("ir/ops/file.py")]) == {}
    assert crowded([*room, Path("ir/one_more.py")]) == {"ir": MOST_FILES + 1}


def test_public_face_reaches_no_tool() -> None:
    faces = [file.module for path, file in sources().items() if path.parts[0] == "secateur"]
    assert len(faces) > 2
    assert tools_behind(house(), faces) == set()


def test_a_tool_behind_the_public_face_is_found() -> None:
    graph = import_graph(
        files(
            {
                "secateur.compiler": "from .costs import table",
                "secateur.costs.table": "def f():\n    from ..tools.bench import clock",
                "secateur.tools.bench.clock": "",
            }
        )
    )
    assert tools_behind(graph, ["secateur.compiler"]) == {"secateur.tools.bench.clock"}


def test_functions_of_codegen_import_nothing() -> None:
    late = {file.module: late_imports(file) for path, file in sources().items() if path.parts[0] == "codegen"}
    assert {module: asked for module, asked in late.items() if asked} == LATE


@pytest.mark.parametrize(
    ("text", "late"),
    [
        ("import tvm\ndef f():\n    return tvm", set()),
        ("def f():\n    import tvm", {"tvm"}),
        ("class C:\n    def f(self):\n        from tvm import tirx", {"tvm"}),
        ("if True:\n    import tvm", set()),
        ("f = lambda: __import__('tvm')", {"tvm"}),
        ("async def f():\n    from . import other", {"secateur.codegen"}),
    ],
)
def test_a_late_import_is_found(text: str, late: set[str]) -> None:
    assert late_imports(source_of(text, "secateur.codegen.file")) == late


def loaded(code: str) -> list[str]:
    """Of the libraries that only a build wants, those that a fresh interpreter has loaded after `code`."""
    report = "import sys; print(*sorted({'tvm', 'llvmlite'} & set(sys.modules)))"
    command = [sys.executable, "-c", f"{code}\n{report}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_asking_primitives_loads_no_compiler() -> None:
    tables = (f"secateur.codegen.backends.{kind}.costs" for kind in ("cpu", "cuda"))
    assert loaded(f"import {', '.join(tables)}, secateur.passes.registry") == []


def test_a_loaded_compiler_is_seen() -> None:
    assert loaded("import llvmlite") == ["llvmlite"]
