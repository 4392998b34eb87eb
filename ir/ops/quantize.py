"""Operators between real tensors and quantized ones. A quantized type carries scale and zero point."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..axes import OUT, Axes, Narrowing
from ..graph import Operator
from ..opdef import Attribute, OpDef, Signature, TypeRuleError
from ..types import DType, Quant, TensorType
from .axes import elementwise_relations, equal_axes
from .rows import register
from .rules import require

QUANT = (
    Attribute("scales", "floats", doc="one, or one for each index of `axis`"),
    Attribute("zero_points", "ints", doc="as many as scales"),
    Attribute("axis", "int", -1, "axis that the scales lie along; -1: one scale for the tensor"),
)


FLOAT32, TFLITE = "float32", "tflite"
ROUNDING = Attribute(
    "rounding", "str", FLOAT32, "float32: one IEEE operation after another; tflite: as its reference kernels"
)
"""Which of two exact definitions an operator has; see `ir/reference/tflite.py` for the second."""


def need_rounding(sig: Signature) -> bool:
    """Whether the operator rounds as TFLite; refuses a name that is none of the two."""
    require(sig["rounding"] in (FLOAT32, TFLITE), f"unknown rounding '{sig['rounding']}'")
    return bool(sig["rounding"] == TFLITE)


PREFIX = "q.tflite_"
"""What operators are called that only TFLite has (`ir/ops/tflite.py`)."""


def rounds_as_tflite(operators: Iterable[Operator]) -> bool:
    """Whether any of the operators rounds as TFLite does, for which there are no kernels of ours."""
    return any(op.get("rounding") == TFLITE or op.name.startswith(PREFIX) for op in operators)


def quant_attributes(quant: Quant) -> dict[str, object]:
    """The attributes that say `quant`."""
    axis = {} if quant.axis is None else {"axis": quant.axis}
    return {"scales": quant.scales, "zero_points": quant.zero_points, **axis}


def quantized(shape: tuple[int, ...], dtype: DType, sig: Signature) -> TensorType:
    axis = None if sig["axis"] == -1 else sig["axis"]
    try:
        return TensorType(shape, dtype, quant=Quant(sig["scales"], sig["zero_points"], axis))
    except ValueError as error:
        raise TypeRuleError(str(error)) from None


def _kept_scales(n: Narrowing) -> Mapping[str, Any]:
    """Scales and zero points of what stays along their axis."""
    if n["axis"] == -1:
        return {}
    kept = n.kept(OUT, n["axis"])
    return {name: tuple(n[name][i] for i in kept) for name in ("scales", "zero_points")}


_SCALED = Axes(elementwise_relations, "", _kept_scales)


def _quantize(sig: Signature) -> Sequence[TensorType]:
    x = sig.types[0]
    require(x.dtype.is_float, f"the input is {x.dtype.value}, only floats are quantized")
    require(not need_rounding(sig) or sig["axis"] == -1, "TFLite quantizes by one scale")
    return [quantized(x.shape, sig["dtype"], sig)]


register(
    OpDef(
        "q.quantize",
        "round_half_even(x / scale) + zero point, saturated; division in float32, NaN gives the zero point.",
        ("x",),
        _quantize,
        (*QUANT, Attribute("dtype", "dtype", doc="stored type"), ROUNDING),
        axes=_SCALED,
    )
)


def _dequantize(sig: Signature) -> Sequence[TensorType]:
    x = sig.types[0]
    require(x.quant is not None, f"the input is {x.dtype.value} without a quantization")
    require(sig["dtype"].is_float, f"{sig['dtype'].value} is no real type")
    return [TensorType(x.shape, sig["dtype"])]


register(
    OpDef(
        "q.dequantize",
        "scale (stored - zero point) of the input's type, in float32.",
        ("x",),
        _dequantize,
        (Attribute("dtype", "dtype", DType.F32, "type of the result"),),
        axes=Axes(elementwise_relations, ""),
    )
)


def _annotate(sig: Signature) -> Sequence[TensorType]:
    x = sig.types[0]
    return [quantized(x.shape, x.dtype, sig)]


register(
    OpDef(
        "q.annotate", "The same stored integers, read as quantized.", ("x",), _annotate, QUANT, axes=_SCALED
    )
)


def _table(sig: Signature) -> Sequence[TensorType]:
    x, table = sig.types
    require(x.dtype.bytes == 1 and x.dtype != DType.BOOL, f"the operand is {x.dtype.value}, not of 8 bits")
    require(table.shape == (256,), f"the table is {table}, not 256 elements")
    return [quantized(x.shape, table.dtype, sig)]


register(
    OpDef(
        "q.table",
        "The table's element at the operand's byte, read as unsigned.",
        ("x", "table"),
        _table,
        (
            *QUANT,
            Attribute("function", "str", "", "what the table holds, where TFLite has an operator for it"),
        ),
        elementwise_from=0,
        axes=Axes(
            lambda ports: equal_axes(0, range(ports.result.rank)),
            "looks bytes up along axis {axis}",
            _kept_scales,
        ),
    )
)
