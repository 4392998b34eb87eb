"""The examples' networks with the first block of each layer alone: every kind of layer, in half the time."""

from __future__ import annotations

import re
import tempfile
from functools import cache
from pathlib import Path

import onnx

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
NAMES = ("digits", "fashion")
CONVOLUTIONS = 1 + 3 * 2 + 2
"""The first, two of each block, and one beside each of the two that have strides."""
_LATER_BLOCK = re.compile(r"/layer\d/block[1-9]")
_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []  # they go with the process


@cache
def shorter(name: str) -> Path:
    """`resnet20.onnx` of that example, shortened."""
    _FOLDERS.append(tempfile.TemporaryDirectory(prefix="shorter-"))
    path = Path(_FOLDERS[-1].name) / "resnet20.onnx"
    onnx.save(with_first_blocks(onnx.load(EXAMPLES / name / "resnet20.onnx")), path)
    return path


def with_first_blocks(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network without what follows the first block of each of its layers."""
    left_out = [node for node in model.graph.node if _LATER_BLOCK.match(node.name)]
    before: dict[str, str] = {}
    for node in left_out:  # a block's last operator gives way to what the block was given
        before[node.output[0]] = before.get(node.input[-1], node.input[-1])
    for node in left_out:
        model.graph.node.remove(node)
    for node in model.graph.node:
        node.input[:] = [before.get(name, name) for name in node.input]
    read = {name for node in model.graph.node for name in node.input}
    for weights in [w for w in model.graph.initializer if w.name not in read]:
        model.graph.initializer.remove(weights)
    del model.graph.value_info[:]
    return model
