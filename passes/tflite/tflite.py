"""The pass that brings a quantized graph into TFLite's terms: rounding, functions, and ends.

%1 = q.quantize(%x) : 1x3x32x32xu8        %1 = nn.transpose(...%x: 1x32x32x3xi8...)
%2 = q.linear_conv(%1, %w, %b)       ->   %2 = q.linear_conv(%1, %w, %b) {rounding = "tflite"}
return q.dequantize(%2)                   return q.table(%2, sign flipped)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from secateur.ir.graph import Graph

from ..framework.base import Pass
from ..options import TfliteOptions
from .ends import set_ends
from .rounding import in_tflite_terms


@dataclass(frozen=True, kw_only=True)
class ToTflite(TfliteOptions, Pass):
    """Makes operators on bytes round as TFLite's reference kernels do, and gives the graph a file's ends.

    `io` is the element type of inputs and outputs that are quantized: `int8`, `uint8` or `float32`. Images
    are taken and given with channels last, or as the model has them with `keep_nchw`.
    """

    name: ClassVar[str] = "tflite"
    changes_ends: ClassVar[bool] = True

    @property
    def tolerance(self) -> float:
        """Near a tie the two roundings differ by a step, and steps add up through a network."""
        return 1.0

    def run(self, graph: Graph) -> Graph:
        in_tflite_terms(graph)
        set_ends(graph, self.io, self.keep_nchw)
        return graph
