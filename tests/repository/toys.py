"""Toys that `docs/adding.md` says how to add, as edits of files."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from .import_graph import EVERYTHING, ROOT


@dataclass(frozen=True)
class Edit:
    """`text` before the one place that reads `before` in a file; at its end where `before` is empty."""

    path: str
    text: str
    before: str = ""

    def apply(self, root: Path) -> None:
        """Edits the file below `root`, which is a package `secateur`; makes it where it is missing."""
        path = root / self.path
        old = path.read_text() if path.exists() else ""
        assert not self.before or old.count(self.before) == 1, f"{self.path}: {old.count(self.before)} places"
        head, found, tail = old.partition(self.before) if self.before else (old, "", "")
        path.write_text(head + self.text + found + tail)


OPERATOR = (
    Edit(
        "ir/ops/movement.py",
        """
from ..axes import frozen  # noqa: E402


def _mirror(sig: Signature) -> Sequence[TensorType]:
    x = sig.types[0]
    require(x.rank > 0, "a scalar has no last axis")
    return [TensorType(x.shape, x.dtype)]


_axes = frozen("turns axis {axis} around")
register(OpDef("nn.mirror", "The last axis backwards.", ("x",), _mirror, moves=True, axes=_axes))
""",
    ),
    Edit(
        "ir/reference/movement.py",
        '    "mirror": lambda _, arrays: arrays[0][..., ::-1],\n',
        '    "relayout"',
    ),
    Edit(
        "ir/onnx_reader/movement.py",
        '    "Mirror": lambda node: node.emit("mirror", [node.input(0)]),\n',
        '    "Flatten"',
    ),
    Edit("ir/onnx_writer/movement.py", '    "nn.mirror": plain("Mirror"),\n', '    "nn.relayout"'),
)

PASS = (
    Edit(
        "passes/mirrors.py",
        '''"""Mirrors of mirrors."""

from dataclasses import dataclass
from typing import ClassVar

from secateur.ir.graph import Graph, Value
from secateur.ir.rewrite import Any_, Match, Op, Rule, always, rewrite

from .framework.base import Pass


def _seen_twice(m: Match) -> Value:
    """mirror(mirror(x))   ->   x"""
    return m.value("x")


RULES = (
    Rule("mirror-mirror", Op("nn.mirror", (Op("nn.mirror", (Any_("x"),)),)), always, _seen_twice),
)


@dataclass(frozen=True)
class Mirrors(Pass):
    """Takes mirrors away by pairs."""

    name: ClassVar[str] = "mirrors"

    def run(self, graph: Graph) -> Graph:
        rewrite(graph, RULES)
        graph.remove_dead()
        return graph
''',
    ),
    Edit("passes/registry.py", '"mirrors": "mirrors.Mirrors",\n    ', '"fuse": "fuse.fuse.Fuse"'),
    Edit("passes/stages.py", '"mirrors": (READ, READ),\n    ', '"quantize": (READ, QUANTIZED)'),
    Edit("passes/registry.py", '"mirrors",\n    ', '"canonicalize.canonicalize",'),
)

PRIMITIVE = (
    Edit(
        "codegen/primitives/move/mirror.py",
        '''"""The last axis backwards, element by element."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from secateur.ir.graph import Operator

from ...kernel import Kernel
from ...targets.target import Target
from ...tir import T, prim_func
from ..generic import Generic, storage, type_after


@dataclass(frozen=True)
class MirrorSpec:
    """`rows` of `width` elements, a task each."""

    rows: int
    width: int
    dtype: str


class Mirror(Generic):
    """Row-major, whatever the type."""

    name = "mirror"
    operators = ("mirror",)

    def kernel(self, op: Operator, target: Target) -> Kernel:
        type = type_after(op)
        width = type.shape[-1]
        spec = MirrorSpec(type.elements // max(width, 1), width, storage(type.dtype))
        return Kernel("mirror", spec, partial(_build, spec), max(1, spec.rows))


def _build(spec: MirrorSpec) -> Any:
    def body(x: Any, result: Any, _workspace: Any, begin: Any, end: Any) -> None:
        with T.serial(begin, end) as row, T.serial(0, spec.width) as i:
            T.buffer_store(result, x[row * spec.width + spec.width - 1 - i], [row * spec.width + i])

    return prim_func([("x", spec.dtype), ("result", spec.dtype)], body)


PRIMITIVES = (Mirror(),)
''',
    ),
    Edit("codegen/backends/cpu/primitives.py", '    "move.mirror",\n', '    "move.view"'),
)

BOARD = (
    Edit(
        "codegen/targets/rows.py",
        '    _x86("toy-board", "x86-64-v2", SSE, _V2, clock_ghz=0.5, dram_gbps=1.0),\n',
        '    _aarch64("rpi3"',
    ),
)

SECTIONS = {"An operator": OPERATOR, "A pass": PASS, "A primitive": PRIMITIVE, "A board": BOARD}


def copied_house(folder: Path) -> Path:
    """The packages as an installation has them: `secateur` in `folder`, the rooms inside; its path."""
    root = folder / "secateur"
    ignore = shutil.ignore_patterns("__pycache__")
    for name in sorted(EVERYTHING, key=lambda name: name != "secateur"):
        shutil.copytree(ROOT / name, root if name == "secateur" else root / name, ignore=ignore)
    return root
