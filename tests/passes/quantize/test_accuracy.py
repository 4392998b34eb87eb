"""What is right of labelled images, by which output."""

from __future__ import annotations

import numpy as np
import pytest

from secateur.ir.errors import ModelNote
from secateur.ir.parser import parse_graph
from secateur.passes.quantize.calibration.executor import interpreted
from secateur.passes.quantize.measure import accuracy

TEXT = """
graph @two(%x: tensor<1x3xf32>) {
  %y = nn.relu(%x) : tensor<1x3xf32>
  %z = nn.neg(%x) : tensor<1x3xf32>
  return %y as "y", %z as "z"
}
"""


def test_of_several_outputs_the_first_is_judged_and_named() -> None:
    graph = parse_graph(TEXT)
    labelled = [({"x": np.array([row], np.float32)}, np.array([2])) for row in ([0, 1, 2], [0, 2, 1])]
    with pytest.warns(ModelNote, match="accuracy goes by 'y', the first of 2 outputs"):
        assert accuracy(graph, labelled, interpreted) == 50
