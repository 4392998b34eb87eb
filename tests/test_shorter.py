"""Shortened networks are whole ones."""

import onnx
import pytest

from .shorter import CONVOLUTIONS, NAMES, shorter


@pytest.mark.parametrize("name", NAMES)
def test_a_shorter_network_has_a_block_with_strides_and_one_without(name: str) -> None:
    model = onnx.load(shorter(name))
    onnx.checker.check_model(model, full_check=True)
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == CONVOLUTIONS
    assert {"/layer1/block0/conv1/Conv", "/layer3/block0/downsample/conv/Conv"} <= {*convolutions}
