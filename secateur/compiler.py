"""The road of a model in one call: read, run the pipeline, lower, write the artifact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .ir.graph import Graph

Kind = Literal["so", "dir", "tar"]
Progress = Callable[[str, int, int], None]
Shapes = Mapping[str, tuple[int, ...]]

DEFAULT_PIPELINE = "canonicalize,fuse,select,layout,memory"


@dataclass(frozen=True, eq=False)
class Artifact:
    """What a compilation gave: where it lies, the manifest inside it, and the IR it was lowered from."""

    path: Path
    manifest: Mapping[str, Any]
    graph: Graph
