"""Secateur: convolutional networks compiled to self-contained artifacts for small boards.

    import secateur

    artifact = secateur.compile("resnet20.onnx", "resnet20.so", "host")
    session = secateur.load(artifact.path)
    logits = session.run({"image": image})["logits"]

Importing the package is cheap: TVM, LLVM and ONNX are imported by the calls
that need them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import SecateurError
from .ir.errors import ModelError, VerifyError
from .options import Ends, Fp16, Inputs, Int8, Limits, Pruning, Watch
from .passes.quantize.calibration.preparation import Preparation
from .version import __version__

if TYPE_CHECKING:
    from .compiler import Artifact, compile
    from .model import read
    from .passes.prune.report import PruningReport
    from .passes.quantize.report import QuantizationReport
    from .pruner import prune
    from .quantizer import quantize
    from .runtime.session import Session, load

__all__ = [
    "Artifact",
    "Ends",
    "Fp16",
    "Inputs",
    "Int8",
    "Limits",
    "ModelError",
    "Preparation",
    "Pruning",
    "PruningReport",
    "QuantizationReport",
    "SecateurError",
    "Session",
    "VerifyError",
    "Watch",
    "__version__",
    "compile",
    "load",
    "prune",
    "quantize",
    "read",
]

_LAZY = {
    "PruningReport": "passes.prune.report",
    "prune": "pruner",
    "Artifact": "compiler",
    "compile": "compiler",
    "QuantizationReport": "passes.quantize.report",
    "Session": "runtime.session",
    "load": "runtime.session",
    "quantize": "quantizer",
    "read": "model",
}


def __getattr__(name: str) -> object:
    """The public names that drag heavy libraries in, on first use."""
    from importlib import import_module

    if name not in _LAZY:
        raise AttributeError(f"module 'secateur' has no attribute '{name}'")
    return getattr(import_module(f".{_LAZY[name]}", __name__), name)
