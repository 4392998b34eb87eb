"""Every family of cases."""

from __future__ import annotations

from functools import cache

from .artifact_family import ArtifactFamily
from .compile_family import CompileFamily
from .family import Family
from .large_family import LargeFamily
from .onnx_family import OnnxFamily
from .text_family import TextFamily


@cache
def families() -> dict[str, Family]:
    """Every family by name."""
    return {f.name: f for f in (OnnxFamily(), TextFamily(), ArtifactFamily(), CompileFamily(), LargeFamily())}
