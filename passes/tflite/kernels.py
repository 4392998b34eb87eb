"""What TFLite alone has on bytes, made of operators on floats between dequantize and quantize.

    quantize(p(dequantize(x)))   ->   requantize(tflite_p(x))

Operators whose result has a quantization of its own are followed by a requantization to what is wanted.
"""

from __future__ import annotations

from secateur.ir.rewrite import Rule

from . import fixed_scales, moves, two_operands, with_weights

RULES: tuple[Rule, ...] = (
    *two_operands.RULES,
    *with_weights.RULES,
    *moves.RULES,
    *fixed_scales.RULES,
)
