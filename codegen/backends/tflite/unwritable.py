"""What has no 8-bit form in TFLite whatever it computes on: known of a network as it is read."""

from __future__ import annotations

from collections.abc import Iterator

from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.types import extents

NORMALIZED = "it normalizes by what it is given, which TFLite has no 8-bit operator for"
TRAINED = (
    "train the network with batch normalization, which folds into convolutions, or cut the model before it"
)
RECURRENT = "a recurrent layer, which TFLite has in float or with 16-bit states: cut the model before it"
LIKE = "cut the model before it"
COMPARED = (
    "TFLite has no form of it on bytes here: cut the model before it, or write it by Clip, Max and Min "
    "(a division that spares zeros: one by Max of the divisor and its least value)"
)

NEVER: dict[str, str] = {
    **dict.fromkeys(("nn.lstm", "nn.gru", "nn.rnn"), RECURRENT),
    **dict.fromkeys(("nn.instance_norm", "nn.layer_norm", "nn.lrn"), f"{NORMALIZED}: {TRAINED}"),
    "nn.grid_sample": f"TFLite has no operator that samples by a grid: {LIKE}",
    **dict.fromkeys(
        ("nn.equal", "nn.greater", "nn.greater_equal", "nn.less", "nn.less_equal", "nn.where"), COMPARED
    ),
    **dict.fromkeys(("nn.and", "nn.or", "nn.xor", "nn.not"), f"TFLite has it on booleans alone: {LIKE}"),
    **dict.fromkeys(
        ("nn.top_k", "nn.max_pool_index", "nn.scatter", "nn.cumsum"),
        f"TFLite has no 8-bit form of it here: {LIKE}",
    ),
    "nn.reduce_prod": f"TFLite has no 8-bit product along an axis: {LIKE}",
}
"""By the operator: why it is not written, and what to do."""


def refusals(graph: Graph) -> list[str]:
    """A line for each operator that is never written; where all may be, one for each batch."""
    return [*_operators(graph)] or [*batches(graph)]


def _operators(graph: Graph) -> Iterator[str]:
    """Of what is computed: the rest is folded, as a choice by what is known may be."""
    computed = set(graph.inputs)
    for op in graph.operators:
        decided = op.operands[:1] if op.name == "nn.where" else op.operands
        if not computed.isdisjoint(op.operands):
            computed.update(op.results)
        reason = None if computed.isdisjoint(decided) else never(op)
        if reason is not None:
            yield f"{op.loc or op.results[0].name or 'unnamed'} ({op.name}): {reason}"


WINDOWS = ("nn.conv", "nn.conv_transpose", "nn.max_pool", "nn.average_pool")


def never(op: Operator) -> str | None:
    """Why an operator is never written; None for what depends on the rest of the network."""
    if op.name in WINDOWS and op.operands[0].type.rank > 4:
        return (
            f"its window goes over {op.operands[0].type.rank - 2} axes, and TFLite's 8-bit windows over two"
        )
    return NEVER.get(op.name)


SCALES = "has a scale for each channel, and TFLite has one for a tensor"
PAIR = "put QuantizeLinear and DequantizeLinear with one scale there"


def in_float(op: Operator) -> str:
    """Why an operator that computes on floats, or gives some, was not brought to bytes."""
    for value in op.operands:
        made = value.producer
        if (
            made is not None
            and made.name == "q.dequantize"
            and not value.is_constant
            and _along(made.operands[0])
        ):
            return f"it computes in float: %{value.name or made.operands[0].name} {SCALES}"
    result = op.result
    if any(user.name == "q.quantize" and _along(user.result) for user in result.users):
        return f"its result {SCALES}"
    if not result.users or any(user.name != "q.quantize" for user in result.users):
        return f"it computes in float, as nothing quantizes its result: {PAIR}"
    return "it computes in float: TFLite has no 8-bit form of it"


def _along(value: Value) -> bool:
    return value.type.quant is not None and value.type.quant.axis is not None


def batches(graph: Graph) -> Iterator[str]:
    """A line for each input of several images."""
    for value in graph.inputs:
        if value.type.rank > 1 and value.type.shape[0] != 1:
            shape = extents(value.type.shape)
            yield f"input '{value.name}' ({shape}): only a batch of 1 is compiled; export the model so"


def refused(target: str, reasons: list[str]) -> str:
    """The one message for all of them."""
    lines = "\n".join(f"  {line}" for line in reasons)
    count = f"{len(reasons)} things have" if len(reasons) > 1 else "one thing has"
    return f"for {target}, {count} no form in an 8-bit TFLite file:\n{lines}"
