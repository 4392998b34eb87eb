"""Secateur: convolutional networks compiled to self-contained artifacts for small boards.

    import secateur

    artifact = secateur.compile("resnet20.onnx", "resnet20.so", target="host")
    session = secateur.load(artifact.path)
    logits = session.run({"image": image})["logits"]

Importing the package is cheap: TVM, LLVM and ONNX are imported by the calls
that need them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import SecateurError
from .ir.errors import ModelError, VerifyError

if TYPE_CHECKING:
    from .compiler import Artifact, compile, quantize
    from .passes.quantize.report import QuantizationReport
    from .runtime.session import Session, load

__all__ = [
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
__version__ = "0.1.0"

_LAZY = {
    "Artifact": "compiler",
    "compile": "compiler",
    "QuantizationReport": "passes.quantize.report",
    "Session": "runtime.session",
    "load": "runtime.session",
    "quantize": "compiler",
}


def __getattr__(name: str) -> object:
    """The public names that drag heavy libraries in, on first use."""
    from importlib import import_module

    if name not in _LAZY:
        raise AttributeError(f"module 'secateur' has no attribute '{name}'")
    return getattr(import_module(f".{_LAZY[name]}", __name__), name)
