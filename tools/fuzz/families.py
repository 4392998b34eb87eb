"""Every family of cases."""

from __future__ import annotations

from functools import cache

from .artifact_family import ArtifactFamily
from .coded_family import CodedFamily
from .compile_family import CompileFamily
from .family import Family
from .large_family import LargeFamily
from .onnx_family import OnnxFamily
from .prune_family import PruneFamily
from .stream_family import StreamFamily
from .text_family import TextFamily


@cache
def families() -> dict[str, Family]:
    """Every family by name."""
    mutated = (OnnxFamily(), TextFamily(), ArtifactFamily(), CompileFamily(), LargeFamily(), StreamFamily())
    return {f.name: f for f in (*mutated, PruneFamily(), CodedFamily())}
