"""Operators that move data."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ModelError
from ..graph import Operator
from ..onnx_reader.resize import POLICIES, policy_target, scaled_shape
from .writer import Write, Writer, plain


def _shaped(type: str, attribute: str, **fixed: int) -> Write:
    """A node whose second input is a list of integers."""

    def write(w: Writer, op: Operator, operands: list[str], result: str) -> None:
        w.node(type, [*operands, w.integers(op[attribute])], op, result, **fixed)

    return write


def _slice(w: Writer, op: Operator, operands: list[str], result: str) -> None:
    ends = [
        start + size * step for start, size, step in zip(op["starts"], op["sizes"], op["steps"], strict=True)
    ]
    before = [-d - 1 for d in op.operands[0].type.shape]  # the end of a slice that runs down to element 0
    ends = [b if e < 0 else e for e, b in zip(ends, before, strict=True)]
    ends = [start if size == 0 else e for start, size, e in zip(op["starts"], op["sizes"], ends, strict=True)]
    bounds = [w.integers(v) for v in (op["starts"], ends, range(len(ends)), op["steps"])]
    w.node("Slice", [*operands, *bounds], op, result)


def _pad(w: Writer, op: Operator, operands: list[str], result: str) -> None:
    value = w.constant(np.array(op["value"]).astype(op.result.type.dtype.numpy))
    w.node("Pad", [*operands, w.integers(op["pads"]), value], op, result, mode=op["mode"])


def _resize(w: Writer, op: Operator, operands: list[str], result: str) -> None:
    target, policy = _resize_target(w, op)
    roi = w.constant(np.array(op["roi"], np.float32)) if op["roi"] else ""
    attributes = {
        "mode": op["mode"],
        "coordinate_transformation_mode": op["coordinates"],
        "nearest_mode": op["rounding"],
        "cubic_coeff_a": op["cubic_coeff"],
        "exclude_outside": int(op["exclude_outside"]),
        "antialias": int(op["antialias"]),
        "extrapolation_value": op["extrapolation"],
    }
    w.node("Resize", [*operands, roi, *target], op, result, **policy, **attributes)


def _resize_target(w: Writer, op: Operator) -> tuple[list[str], dict[str, Any]]:
    """Inputs scales and sizes, and attributes, that ONNX turns into the operator's shape and scales."""
    x, shape, scales = op.operands[0].type.shape, op["shape"], op["scales"]
    if scaled_shape(x, scales) == shape:
        return [w.constant(np.array(scales, np.float32)), ""], {}
    sizes = {axis: shape[axis] for axis, scale in enumerate(scales) if scale != 1.0}
    axes = {} if op["roi"] else {"axes": list(sizes)}
    for policy in POLICIES:
        wanted = sizes if axes else dict(enumerate(shape))
        if policy_target(policy, x, wanted) == (shape, scales):
            return ["", w.integers(list(wanted.values()))], {**axes, "keep_aspect_ratio_policy": policy}
    raise ModelError(f"{op!r}: ONNX cannot say scales {scales} with shape {shape}")


def _space_to_depth(w: Writer, op: Operator, operands: list[str], result: str) -> None:
    """Mode CRD is newer than the opset written."""
    if op["mode"] == "DCR":
        w.node("SpaceToDepth", operands, op, result, blocksize=op["block"])
        return
    b, (n, c, h, width) = op["block"], op.operands[0].type.shape
    split = w.node("Reshape", [*operands, w.integers((n, c, h // b, b, width // b, b))], op, allowzero=1)
    moved = w.node("Transpose", [split], op, perm=(0, 1, 3, 5, 2, 4))
    w.node("Reshape", [moved, w.integers(op.result.type.shape)], op, result, allowzero=1)


def _scatter(w: Writer, op: Operator, operands: list[str], result: str) -> None:
    """ONNX has an index for each element."""
    x, indices, updates = operands
    rows, wanted = op.operands[1].type.shape, op.operands[2].type.shape
    if len(wanted) > 2:
        indices = w.node("Reshape", [indices, w.integers((*rows, *[1] * (len(wanted) - 2)))], op, allowzero=1)
        indices = w.node("Expand", [indices, w.integers(wanted)], op)
    w.node("ScatterElements", [x, indices, updates], op, result, axis=1, reduction=op["reduction"])


WRITERS: dict[str, Write] = {
    "nn.reshape": _shaped("Reshape", "shape", allowzero=1),
    "nn.expand": _shaped("Expand", "shape"),
    "nn.tile": _shaped("Tile", "repeats"),
    "nn.transpose": plain("Transpose", perm="perm"),
    "nn.concat": plain("Concat", axis="axis"),
    "nn.slice": _slice,
    "nn.gather": plain("Gather", axis="axis"),
    "nn.pad": _pad,
    "nn.resize": _resize,
    "nn.grid_sample": plain("GridSample", mode="mode", padding="padding_mode", align_corners="align_corners"),
    "nn.depth_to_space": plain("DepthToSpace", block="blocksize", mode="mode"),
    "nn.space_to_depth": _space_to_depth,
    "nn.scatter": _scatter,
    "nn.relayout": plain("Identity"),
}
