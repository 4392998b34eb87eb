"""Operators with a function joined to them, as ONNX Runtime's optimizer writes them."""

from __future__ import annotations

from collections.abc import Mapping

from ...graph import Value
from ..elementwise import HANDLERS as ELEMENTWISE
from ..elementwise import times
from ..matrix import gemm, scaled
from ..node import Handler, Node, NodeError
from ..windows import conv

_ACTIVATIONS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "Relu": ("relu", ()),
    "Sigmoid": ("sigmoid", ()),
    "Tanh": ("tanh", ()),
    "LeakyRelu": ("leaky_relu", ("alpha",)),
    "HardSigmoid": ("hard_sigmoid", ("alpha", "beta")),
    "Clip": ("clip", ("min", "max")),
}
"""Functions of FusedConv, with what its `activation_params` are."""


def fused_conv(node: Node) -> Value:
    """The convolution, plus operand 3 where there is one, and a function of it."""
    made, more = conv(node), node.optional(3)
    summed = made if more is None else node.emit("add", [made, more])
    return _activated(node, summed, node.floats("activation_params", ()))


def _activated(node: Node, x: Value, given: tuple[float, ...]) -> Value:
    name = node.string("activation", "")
    if not name:
        return x
    if name not in _ACTIVATIONS:
        raise NodeError(f"attribute 'activation' is '{name}', known: {', '.join(_ACTIVATIONS)}")
    function, params = _ACTIVATIONS[name]
    if len(given) < len(params):
        raise NodeError(f"activation {name} has {len(given)} parameters, needs {len(params)}")
    return node.emit(function, [x], **dict(zip(params, given, strict=False)))


def fused_gemm(node: Node) -> Value:
    """The product and a function of it, whose parameters are single attributes."""
    _, params = _ACTIVATIONS.get(node.string("activation", ""), ("", ()))
    names = {"min": "activation_alpha", "max": "activation_beta"}
    given = tuple(node.number(names.get(p, f"activation_{p}"), 0.0) for p in params)
    return _activated(node, gemm(node), given)


def fused_matmul(node: Node) -> Value:
    """alpha A B, each with axes exchanged or not."""
    operands = [_turned(node, node.input(i), which) for i, which in enumerate("AB")]
    operands[1] = scaled(node, operands[1], node.number("alpha", 1.0))
    return node.emit("matmul", operands)


def _turned(node: Node, x: Value, which: str) -> Value:
    """Operand A or B as a product of matrices wants it.

    With `transBatch` its first axis belongs behind those of the batch; with `trans` its last two axes
    change places after that.
    """
    batch, last = node.flag(f"transBatch{which}"), node.flag(f"trans{which}")
    axes = list(range(x.type.rank))
    if batch:
        axes = [*axes[1:-1], axes[0], *axes[-1:]]
    if last and len(axes) > 1:
        axes = [*axes[:-2], axes[-1], axes[-2]]
    return x if axes == sorted(axes) else node.emit("transpose", [x], perm=tuple(axes))


def bias_gelu(node: Node) -> Value:
    return node.emit("gelu", [node.emit("add", [node.input(0), node.input(1)])])


def fast_gelu(node: Node) -> Value:
    x, bias = node.input(0), node.optional(1)
    return node.emit("gelu_tanh", [x if bias is None else node.emit("add", [x, bias])])


def quick_gelu(node: Node) -> Value:
    """x sigmoid(alpha x)"""
    x = node.input(0)
    return node.emit("mul", [x, node.emit("sigmoid", [times(node, x, node.number("alpha", 1.702))])])


HANDLERS: dict[str, Handler] = {
    "BiasGelu": bias_gelu,
    "FastGelu": fast_gelu,
    "FusedConv": fused_conv,
    "FusedGemm": fused_gemm,
    "FusedMatMul": fused_matmul,
    "Gelu": ELEMENTWISE["Gelu"],
    "QuickGelu": quick_gelu,
    "TransposeMatMul": fused_matmul,
}
"""By the names of the domain com.microsoft; `TransposeMatMul` is what older files call `FusedMatMul`."""
