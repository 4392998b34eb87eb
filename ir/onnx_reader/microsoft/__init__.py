"""Operators of ONNX Runtime's own domain (com.microsoft), which its optimizer and quantizer write."""

from __future__ import annotations

from ..node import Handler
from . import attention, blocks, fused, last, skipped

MICROSOFT: dict[str, Handler] = {
    **fused.HANDLERS,
    **attention.HANDLERS,
    **blocks.HANDLERS,
    **last.HANDLERS,
    **skipped.HANDLERS,
}
"""Operators of the domain com.microsoft."""

UNNAMED: dict[str, Handler] = skipped.UNNAMED
"""Operators of its own that ONNX Runtime keeps in ONNX's domain."""
