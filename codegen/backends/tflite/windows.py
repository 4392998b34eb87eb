"""Convolutions and pools."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from secateur.ir.graph import Operator, constant_of
from secateur.ir.ops.linear import one_quant
from secateur.ir.types import Quant, TensorType

from .order import channels_last
from .padding import Window, padded, padded_input, scheme, scheme_code, window_of
from .schema import schema
from .writer import Array, Mapper, Writer, image_shape, limited_as, need, stored_quant


def activation(op: Operator) -> int:
    """The schema's number of the activation that the operator's limits are."""
    return int(getattr(schema().ActivationFunctionType, limited_as(op, op["limits"])))


def constants(op: Operator) -> tuple[Array, Array, Quant]:
    """Weights, bias and the weights' quantization; Unmapped where they are computed."""
    weights, bias, quant = constant_of(op.operands[1]), constant_of(op.operands[2]), op.operands[1].type.quant
    need(weights is not None and bias is not None, "its weights or its bias are no constants")
    assert weights is not None
    assert bias is not None
    assert quant is not None, "the type rule wants quantized weights"
    return weights, bias, quant


def bias_tensor(writer: Writer, op: Operator, bias: Array, quant: Quant) -> int:
    """The bias in steps of input scale x weight scale."""
    x = np.float32(one_quant(op.operands[0].type)[0])
    scales = tuple(float(x * np.float32(s)) for s in quant.scales)
    axis = 0 if len(scales) > 1 else None
    return writer.file.constant(
        op.operands[2].name or f"{op.loc}.bias", bias, Quant(scales, (0,) * len(scales), axis)
    )


def conv(writer: Writer, op: Operator) -> None:
    weights, bias, quant = constants(op)
    window, groups = window_of(op, weights.shape[2:]), op["groups"]
    image = weights.reshape(*weights.shape[:2], *window.kernel)
    if groups > 1 and weights.shape[1] == 1:
        depthwise(writer, op, image, bias, quant, window)
    elif groups == 1 or writer.machine.groups:
        full(writer, op, image, bias, quant, window)
    else:
        split(writer, op, image, bias, quant, window)


def full(writer: Writer, op: Operator, w: Array, bias: Array, quant: Quant, window: Window) -> None:
    x, way = padded_input(writer, op, window)
    filters = np.ascontiguousarray(w.transpose(0, 2, 3, 1))
    operands = [
        x,
        writer.file.constant(op.operands[1].name, filters, quant),
        bias_tensor(writer, op, bias, quant),
    ]
    _conv_2d(writer, op, operands, writer.make_image(op.result), window, way, 6 if op["groups"] > 1 else 3)


def _conv_2d(
    writer: Writer, op: Operator, operands: list[int], made: int, window: Window, way: str, version: int
) -> None:
    writer.file.operator(
        "CONV_2D",
        version,
        operands,
        [made],
        "Conv2DOptions",
        padding=scheme_code(way),
        fusedActivationFunction=activation(op),
        **window.options,
        **window.dilation_options,
    )


def depthwise(writer: Writer, op: Operator, w: Array, bias: Array, quant: Quant, window: Window) -> None:
    x, way = padded_input(writer, op, window)
    filters = np.ascontiguousarray(w.transpose(1, 2, 3, 0))
    along = quant if quant.axis is None else replace(quant, axis=3)
    writer.file.operator(
        "DEPTHWISE_CONV_2D",
        3,
        [
            x,
            writer.file.constant(op.operands[1].name, filters, along),
            bias_tensor(writer, op, bias, quant),
        ],
        [writer.make_image(op.result)],
        "DepthwiseConv2DOptions",
        padding=scheme_code(way),
        depthMultiplier=w.shape[0] // op["groups"],
        fusedActivationFunction=activation(op),
        **window.options,
        **window.dilation_options,
    )


def _shares(shape: tuple[int, ...], groups: int) -> tuple[int, ...]:
    return (*shape[:-1], shape[-1] // groups)


def split(writer: Writer, op: Operator, w: Array, bias: Array, quant: Quant, window: Window) -> None:
    """SPLIT, a convolution for each group, CONCATENATION."""
    groups, (source, way) = op["groups"], padded_input(writer, op, window)
    x, y = op.operands[0], op.result
    whole = tuple(writer.file.tensors[source].shape)
    parts = [writer.result(f"{x.name}_group", x.type, _shares(whole, groups)) for _ in range(groups)]
    axis = writer.file.constant("axis", np.array(3, np.int32))
    writer.file.operator("SPLIT", 2, [axis, source], parts, "SplitOptions", numSplits=groups)
    shape = _shares(image_shape(y.type.shape), groups)
    made = [writer.result(f"{y.name}_group", y.type, shape) for _ in range(groups)]
    filters = w.shape[0] // groups
    for number, (part, result) in enumerate(zip(parts, made, strict=True)):
        own = slice(number * filters, (number + 1) * filters)
        scales = quant if quant.axis is None else Quant(quant.scales[own], quant.zero_points[own], 0)
        kernel = np.ascontiguousarray(w[own].transpose(0, 2, 3, 1))
        operands = [
            part,
            writer.file.constant(f"{op.operands[1].name}_{number}", kernel, scales),
            bias_tensor(writer, op, bias[own], scales),
        ]
        _conv_2d(writer, op, operands, result, window, way, 3)
    joined(writer, made, writer.make_image(y), 3)


def joined(writer: Writer, parts: list[int], made: int, axis: int) -> None:
    """CONCATENATION along an axis of the file."""
    writer.file.operator(
        "CONCATENATION", 2, parts, [made], "ConcatenationOptions", axis=axis, fusedActivationFunction=0
    )


def max_pool(writer: Writer, op: Operator) -> None:
    window = window_of(op, op["kernel"])
    need(window.dilations == (1, 1), "its window is dilated, TFLite's pools are not")
    need_bytes(op.operands[0].type)
    x, way = padded_input(writer, op, window, fill=0)
    _pool(writer, op, "MAX_POOL_2D", x, window, way, 0)


def need_bytes(type: TensorType) -> None:
    """Unmapped for what has no int8 form."""
    need(stored_quant(type) is not None and type.dtype.bytes == 1, f"it computes on {type.dtype.value}")


def _pool(writer: Writer, op: Operator, kind: str, x: int, window: Window, way: str, fused: int) -> None:
    _pool_into(writer, kind, x, writer.make_image(op.result), window, way, fused)


def _pool_into(writer: Writer, kind: str, x: int, made: int, window: Window, way: str, fused: int) -> None:
    writer.file.operator(
        kind,
        2,
        [x],
        [made],
        "Pool2DOptions",
        padding=scheme_code(way),
        filterHeight=window.kernel[0],
        filterWidth=window.kernel[1],
        fusedActivationFunction=fused,
        **window.options,
    )


def average_pool(writer: Writer, op: Operator) -> None:
    """AVERAGE_POOL_2D where the quantization stays, else MEAN over the whole plane."""
    if op.operands[0].type.quant != op.result.type.quant:
        mean(writer, op)
        return
    window, fused = window_of(op, op["kernel"]), activation(op)
    need(window.dilations == (1, 1), "its window is dilated, TFLite's pools are not")
    if any(map(any, window.pads)) and not op["count_include_pad"]:
        _uncounted(writer, op, window, fused)
        return
    x, way = _averaged(writer, op, window)
    _pool(writer, op, "AVERAGE_POOL_2D", x, window, way, fused)


def _averaged(writer: Writer, op: Operator, window: Window) -> tuple[int, str]:
    """Padding that counts is an operator of its own."""
    if not any(map(any, window.pads)):
        return padded_input(writer, op, window)
    ends = (0,) * (2 - len(op["kernel"])) + tuple(op["pads"][len(op["kernel"]) :])
    past = any(pads[1] > end for pads, end in zip(window.pads, ends, strict=True))
    need(not past, "a window reaches past its padding, to what does not count")
    return padded(writer, op.operands[0], ((0, 0), *window.pads, (0, 0))), "VALID"


def _uncounted(writer: Writer, op: Operator, window: Window, fused: int) -> None:
    """Padding that does not count is SAME's; else SAME by steps of 1, of which those that are wanted stay.

    A window by steps of 1 lies as SAME pads it around every element, so that each of ours, which begins
    `pads` before an element, is one of those where it lies around one at all.
    """
    image, out = image_shape(op.operands[0].type.shape), image_shape(op.result.type.shape)
    if found := scheme(window, image[1:3], out[1:3]):
        _pool(writer, op, "AVERAGE_POOL_2D", writer.image(op.operands[0]), window, found, fused)
        return
    firsts = [(k - 1) // 2 - p[0] for k, p in zip(window.kernel, window.pads, strict=True)]
    spans = [(n - 1) * s + 1 for n, s in zip(out[1:3], window.strides, strict=True)]
    inside = all(a >= 0 and a + n <= d for a, n, d in zip(firsts, spans, image[1:3], strict=True))
    need(inside, "its average leaves out padding that TFLite's windows never meet")
    dense = Window(window.kernel, (1, 1), (1, 1), window.pads)
    made = writer.result(f"{op.result.name}_dense", op.result.type, image)
    _pool_into(writer, "AVERAGE_POOL_2D", writer.image(op.operands[0]), made, dense, "SAME", fused)
    cut = (1, *spans, image[3])
    if cut != image:
        made = _cut(writer, op, made, (0, *firsts, 0), cut)
    if window.strides == (1, 1):
        writer.same(op.result, writer.held_at(made, channels_last(op.result.type.shape)))
        return
    single = Window((1, 1), window.strides, (1, 1), ((0, 0), (0, 0)))
    _pool(writer, op, "MAX_POOL_2D", made, single, "VALID", 0)


def _cut(writer: Writer, op: Operator, x: int, begin: tuple[int, ...], size: tuple[int, ...]) -> int:
    made = writer.result(f"{op.result.name}_cut", op.result.type, size)
    parts = [writer.file.constant(n, np.array(v, np.int32)) for n, v in (("begin", begin), ("size", size))]
    writer.file.operator("SLICE", 2, [x, *parts], [made], "SliceOptions")
    return made


def mean(writer: Writer, op: Operator) -> None:
    x = writer.image(op.operands[0])
    axes = writer.file.constant("axes", np.array([1, 2], np.int32))
    made = writer.make(op.result, channels_last(op.result.type.shape), image_shape(op.result.type.shape))
    writer.file.operator("MEAN", 2, [x, axes], [made], "ReducerOptions", keepDims=True)


MAPPERS: dict[str, Mapper] = {
    "q.linear_conv": conv,
    "q.linear_average_pool": average_pool,
    "nn.max_pool": max_pool,
}
