"""The examples' networks with two blocks of nine: every kind of layer, in a third of the time."""

from __future__ import annotations

import re
import tempfile
from functools import cache
from pathlib import Path

import onnx
from onnx import numpy_helper

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
NAMES = ("digits", "fashion")
CONVOLUTIONS = 1 + 2 * 2 + 1
"""The first, two of each block, and one beside the block that has strides."""
_LEFT_OUT = re.compile(r"/layer3/|/layer\d/block[1-9]")
_LAST = "layer2", "layer3"
"""The layer with strides that stays, and what pages call the last."""
_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []  # they go with the process


@cache
def shorter(name: str) -> Path:
    """`resnet20.onnx` of that example, shortened."""
    _FOLDERS.append(tempfile.TemporaryDirectory(prefix="shorter-"))
    path = Path(_FOLDERS[-1].name) / "resnet20.onnx"
    onnx.save(with_few_blocks(onnx.load(EXAMPLES / name / "resnet20.onnx")), path)
    return path


def with_few_blocks(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network with the first blocks of its layers alone, and one layer with strides instead of two."""
    left_out = [node for node in model.graph.node if _LEFT_OUT.match(node.name)]
    before: dict[str, str] = {}
    for node in left_out:  # a block's last operator gives way to what the block was given
        before[node.output[0]] = before.get(node.input[0], node.input[0])
    for node in left_out:
        model.graph.node.remove(node)
    for node in model.graph.node:
        node.input[:] = [_called(before.get(name, name)) for name in node.input]
        node.output[:] = map(_called, node.output)
        node.name = _called(node.name)
    read = {name for node in model.graph.node for name in node.input}
    weights = {_called(w.name): numpy_helper.to_array(w) for w in model.graph.initializer if not _is_last(w)}
    channels = weights[f"{_LAST[1]}.block0.conv2.weight"].shape[0]
    weights["fc.weight"] = weights["fc.weight"][:, :channels]
    del model.graph.initializer[:]
    model.graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in weights.items() if name in read
    )
    del model.graph.value_info[:]
    return model


def _is_last(weights: onnx.TensorProto) -> bool:
    return weights.name.startswith(_LAST[1])


def _called(name: str) -> str:
    return name.replace(*_LAST)
