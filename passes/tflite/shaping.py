"""Operators on floats as TFLite has them: matrices of rows, means of planes, channels scaled by convolutions.

The answer does not move but for the last bits. The rules serve networks that are to be quantized and those
that arrive quantized alike: what lies between dequantize and quantize has one form in both.
"""

from __future__ import annotations

from secateur.ir.graph import Graph
from secateur.ir.rewrite import Rule, rewrite

from . import channels, last, maps, matrices, means

RULES: tuple[Rule, ...] = (*matrices.RULES, *means.RULES, *channels.RULES, *maps.RULES)
"""A map that scales channels becomes a convolution before anything else of it is looked at."""


def shape_for_tflite(graph: Graph) -> None:
    """Applies the rules in place: channels are second before it is asked which are scaled."""
    rewrite(graph, last.WITH_OTHERS)
    rewrite(graph, RULES)
    graph.remove_dead()
